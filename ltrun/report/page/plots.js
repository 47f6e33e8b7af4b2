// Plain SVG plots with the look of `ltrun report --plots`: colours of Okabe and Ito, no frame, grey grid, dashed edges.

const LOOKS = ["a", "b"];

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((x) => x * power).find((x) => x >= raw * 0.999);
  const found = [];
  for (let x = Math.ceil(low / step - 1e-9) * step; x <= high + step * 1e-6; x += step) found.push(Math.round(x * 1e9) / 1e9);
  return found;
}

// A panel at (left, top) of width by height, with scales; x, y: {low, high, log}.
function panel(left, top, width, height, x, y) {
  const scale = (axis, from, to) => {
    const f = axis.log ? Math.log : (value) => value;
    const low = f(axis.low), span = f(axis.high) - low || 1;
    return (value) => from + (f(value) - low) / span * (to - from);
  };
  return { left, top, width, height, X: scale(x, left, left + width), Y: scale(y, top + height, top), x, y };
}

function yAxis(p, marks, label, format = String) {
  return svg("g", {},
    marks.map((value) => [
      svg("line", { class: "grid", x1: p.left, x2: p.left + p.width, y1: p.Y(value), y2: p.Y(value) }),
      svg("text", { x: p.left - 5, y: p.Y(value) + 3.5, "text-anchor": "end" }, format(value))]),
    svg("line", { class: "axis", x1: p.left, x2: p.left, y1: p.top, y2: p.top + p.height }),
    svg("text", { class: "soft", transform: `translate(${p.left - 36} ${p.top + p.height / 2}) rotate(-90)`,
      "text-anchor": "middle" }, label));
}

function xAxis(p, marks, label, format = String, turned = false) {
  const base = p.top + p.height;
  return svg("g", {},
    svg("line", { class: "axis", x1: p.left, x2: p.left + p.width, y1: base, y2: base }),
    marks.map((value) => svg("g", {},
      svg("line", { class: "axis", x1: p.X(value), x2: p.X(value), y1: base, y2: base + 3 }),
      turned
        ? svg("text", { transform: `translate(${p.X(value) + 3} ${base + 11}) rotate(-38)`, "text-anchor": "end" }, format(value))
        : svg("text", { x: p.X(value), y: base + 14, "text-anchor": "middle" }, format(value)))),
    label && svg("text", { class: "soft", x: p.left + p.width / 2, y: base + (turned ? 52 : 29), "text-anchor": "middle" }, label));
}

function path(p, xs, ys) { // gaps where a value is missing
  let text = "", pen = "M";
  xs.forEach((x, i) => {
    if (ys[i] === null || ys[i] === undefined) { pen = "M"; return; }
    text += `${pen}${p.X(x).toFixed(1)} ${p.Y(ys[i]).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

function band(p, xs, low, high, look) {
  const at = xs.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null);
  if (!at.length) return null;
  const point = (i, values) => `${p.X(xs[i]).toFixed(1)} ${p.Y(values[i]).toFixed(1)}`;
  const edge = [...at.map((i) => point(i, high)), ...[...at].reverse().map((i) => point(i, low))];
  return svg("path", { class: `fill band ${look}`, d: `M${edge.join("L")}Z` });
}

function mark(p, x, y, look) { // a circle for the first row, a square for the second
  const at = { class: `dot ${look}` };
  if (look === "b") return svg("rect", { ...at, x: p.X(x) - 3, y: p.Y(y) - 3, width: 6, height: 6 });
  return svg("circle", { ...at, cx: p.X(x), cy: p.Y(y), r: 3.4 });
}

function chart(width, height, label, ...children) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...children);
}

function card(kind, title, remark, ...children) {
  return h("figure", { class: `card ${kind}` }, h("figcaption", {}, title, remark && h("small", {}, remark)), ...children);
}
