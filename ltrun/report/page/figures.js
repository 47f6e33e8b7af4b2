// The figures of one row, or of two rows over each other. shown: [{name, look, row, detail}], table: their table.

function legend(shown) {
  return shown.length > 1 && h("div", { class: "legend" }, shown.map((each) => h("span", { class: each.look }, each.name)));
}

function groupEdges(classes, order) { // [[heading, first rank, rank after the last]]
  const found = [];
  order.forEach((label, rank) => {
    const group = classes.groups[label], last = found[found.length - 1];
    if (last && last[0] === group) last[2] = rank + 1; else found.push([group, rank, rank + 1]);
  });
  return found.map(([group, ...ends]) => [Object.values(data.groups)[group], ...ends]);
}

function edges(p, groups, named) {
  let taken = -Infinity;
  return groups.map(([name, start, end]) => {
    const half = name.length * 3.3, at = Math.max(p.X((start + end - 1) / 2), taken + half + 5);
    taken = at + half;
    return svg("g", {},
      start > 0 && svg("line", { class: "edge", x1: p.X(start - 0.5), x2: p.X(start - 0.5), y1: p.top, y2: p.top + p.height }),
      named && svg("text", { class: "soft", x: at, y: p.top - 6, "text-anchor": "middle" }, name));
  });
}

const inOrder = (classes) => classes.counts.map((_, i) => i).sort((a, b) => classes.counts[b] - classes.counts[a] || a - b);
const fewClasses = (classes) => classes.counts.length <= 20;

function ranks(p, classes, order, label) {
  if (fewClasses(classes)) {
    const name = (rank) => { const text = classes.names[order[rank]]; return text.length > 12 ? `${text.slice(0, 11)}…` : text; };
    return xAxis(p, order.map((_, rank) => rank), label, name, true);
  }
  return xAxis(p, [0, ...ticks(1, order.length, 6).filter((x) => x > 1 && x % 1 === 0).map((x) => x - 1)], label,
    (rank) => (rank + 1).toLocaleString("en"));
}

function sizes(p, classes, order) { // training images of each class
  const base = p.top + p.height, one = p.width / order.length;
  const top = (rank) => Math.min(base, p.Y(Math.max(classes.counts[order[rank]], p.y.low)));
  if (order.length <= 200) {
    return order.map((label, rank) => svg("rect", { class: "bar", x: p.X(rank) - one * 0.35, width: one * 0.7, y: top(rank),
      height: base - top(rank) }, svg("title", {}, `${classes.names[label]}: ${classes.counts[label].toLocaleString("en")}`)));
  }
  const line = order.map((_, rank) => `L${p.X(rank).toFixed(1)} ${top(rank).toFixed(1)}`).join("");
  return svg("path", { class: "bar", d: `M${p.left} ${base}${line}L${p.left + p.width} ${base}Z` });
}

function perClass(shown, table, split) {
  const classes = table.classes, drawn = shown.filter((each) => each.detail.classes[split]);
  if (!classes.alike || !drawn.length) return null;
  const order = inOrder(classes), { at, window: wide } = drawn[0].detail, turned = fewClasses(classes);
  const curves = drawn.map((each) => {
    const { mean: middle, std } = each.detail.classes[split];
    const tenth = (values) => values.map((value) => (value === null ? null : value / 10));
    const spread = std && tenth(middle).map((value, i) => (value === null || std[i] === null ? null : std[i] / 10));
    return { ...each, middle: tenth(middle), spread };
  });
  const tops = curves.flatMap((each) => there(each.middle.map((value, i) => value !== null && value + ((each.spread || [])[i] || 0))));
  const x = { low: -0.6, high: order.length - 0.4 }, high = Math.min(101.5, 1.06 * Math.max(1, ...tops));
  const width = innerWidth < 640 ? 330 : shown.length > 1 && innerWidth > 960 ? 1080 : 690;
  const p = panel(50, 22, width, 190, x, { low: 0, high });
  const counts = there(classes.counts.map((count) => count > 0 ? count : null));
  const low = Math.min(...counts, Infinity) || 1, most = Math.max(...counts, 1);
  const floor = low / Math.max(2, (most / low) ** 0.25);
  const q = panel(50, 228, width, 56, x, { low: floor, high: most * (most / floor) ** 0.12, log: true });
  const groups = groupEdges(classes, order), metric = Object.values(table.metrics)[0];
  const cursor = svg("line", { class: "cursor", y1: p.top, y2: q.top + q.height, visibility: "hidden" });
  const out = h("output", {}, "Point at a class to read its values.");
  const move = (event) => {
    const box = figure.getBoundingClientRect(), place = (event.clientX - box.left) / box.width * (width + 65);
    const rank = Math.round(x.low + (place - p.left) / p.width * (x.high - x.low));
    let i = 0;
    at.forEach((value, k) => { if (Math.abs(value - rank) < Math.abs(at[i] - rank)) i = k; });
    const label = order[at[i]];
    cursor.setAttribute("x1", p.X(at[i])); cursor.setAttribute("x2", p.X(at[i]));
    cursor.setAttribute("visibility", "visible");
    out.textContent = [`${classes.names[label]} · rank ${at[i] + 1} · ${counted(classes.counts[label], "training image")}`,
      ...curves.map((each) => `${curves.length > 1 ? `${each.look.toUpperCase()} ` : ""}${spoken(each, i)}`)].join(" · ");
  };
  const figure = chart(width + 65, turned ? 345 : 320, `${metric.of_class} by class, the most frequent first`,
    yAxis(p, ticks(0, high, 5), metric.columns[0].percent ? `${metric.of_class} (%)` : metric.of_class),
    edges(p, groups, true), edges(q, groups, false),
    curves.map((each) => [each.spread && band(p, at, each.middle.map((v, i) => minus(v, each.spread[i])),
      each.middle.map((v, i) => minus(v, each.spread[i] === null ? null : -each.spread[i])), each.look),
    svg("path", { class: `line ${each.look}`, d: path(p, at, each.middle) }),
    turned && at.map((rank, i) => each.middle[i] !== null && mark(p, rank, each.middle[i], each.look))]),
    sizes(q, classes, order), yAxis(q, [...new Set([low, most])], "images", (value) => value.toLocaleString("en")),
    ranks(q, classes, order, "classes, most frequent first; below: training images, on a logarithmic axis"), cursor);
  figure.addEventListener("pointermove", move);
  const remark = [`on ${split}`, wide > 1 && `running mean over ${wide} classes`,
    curves.some((each) => each.spread) && "band: standard deviation over seeds"].filter(Boolean).join("; ");
  return card(shown.length > 1 ? "whole" : "wide", `${metric.of_class} by class`, remark, legend(curves), figure, out);
}

const minus = (value, less) => (value === null || less === null ? value : Math.min(100, Math.max(0, value - less)));
const spoken = (each, i) => (each.middle[i] === null ? DASH : each.middle[i].toFixed(1)
  + (each.spread && each.spread[i] !== null ? ` ± ${each.spread[i].toFixed(1)}` : ""));

function confusion(shown, table) {
  const drawn = shown.filter((each) => each.detail.confusion);
  if (!drawn.length) return null;
  const heads = ["right", ...Object.values(data.groups).map((head) => `as ${head.toLowerCase()}`)];
  const cell = (value, i, look) => h("td", { style: value === null ? null
    : `background:color-mix(in srgb,var(--${i ? "warn" : look}) ${Math.round(value * 0.55)}%,transparent)` },
  value === null ? DASH : value.toFixed(1));
  const one = (each) => [drawn.length > 1 && h("p", {}, h("span", { class: `badge ${each.look}` }, each.look.toUpperCase()),
    ` ${each.name}`),
  h("table", { class: "small heat" }, h("thead", {}, h("tr", {}, h("th", { class: "name" }, "Classes"),
    heads.map((head) => h("th", {}, head)))),
  h("tbody", {}, Object.values(data.groups).map((head, g) => h("tr", {}, h("th", { class: "name" }, head),
    each.detail.confusion[g].map((value, i) => cell(value, i, each.look))))))];
  const what = table.task === "single_label" ? "of the test images of each group: % predicted right, or as a class of another kind"
    : "of the labels of each group: % found, and % of images with a wrong class of a group";
  return card(shown.length > 1 ? "half" : "", "Confusion by group", what, drawn.map(one));
}

function reliability(shown, table) {
  const drawn = shown.filter((each) => each.detail.reliability);
  if (!drawn.length) return null;
  const p = panel(44, 8, 280, 196, { low: 0, high: 1 }, { low: 0, high: 1 });
  const most = Math.max(...drawn.flatMap((each) => each.detail.reliability.map((bin) => bin[0])), 1);
  const q = panel(44, 206, 280, 30, p.x, { low: 0, high: most });
  const marks = [0, 0.25, 0.5, 0.75, 1], width = 280 / drawn[0].detail.reliability.length;
  const figure = chart(340, 275, "Reliability diagram", yAxis(p, marks, "share that is right"),
    svg("line", { class: "edge", x1: p.X(0), y1: p.Y(0), x2: p.X(1), y2: p.Y(1) }),
    drawn.map((each, k) => {
      const bins = each.detail.reliability.filter((bin) => bin[0] > 0);
      return [each.detail.reliability.map((bin, i) => svg("rect", { class: drawn.length > 1 ? `fill band ${each.look}` : "bar",
        x: p.left + i * width + 1 + k * width / 2, width: width / drawn.length - 2 / drawn.length, y: q.Y(bin[0]),
        height: q.top + q.height - q.Y(bin[0]) }, svg("title", {}, counted(bin[0], "decision")))),
      svg("path", { class: `line ${each.look}`, d: path(p, bins.map((bin) => bin[1]), bins.map((bin) => bin[2])) }),
      bins.map((bin) => mark(p, bin[1], bin[2], each.look))];
    }),
    xAxis(q, marks, table.task === "single_label" ? "confidence" : "probability of a label"));
  return card(shown.length > 1 ? "half" : "", "Reliability", "dashed: calibrated; grey bars: decisions in each bin, all seeds", legend(drawn), figure);
}

function training(shown, table) {
  const drawn = shown.map((each) => ({ ...each, runs: there(each.detail.training) })).filter((each) => each.runs.length);
  if (!drawn.length) return null;
  const runs = drawn.flatMap((each) => each.runs), last = Math.max(...runs.map((run) => run.epochs));
  const x = { low: 1, high: Math.max(2, last) }, losses = runs.flatMap((run) => run.loss.map((point) => point[1]));
  const high = 1.05 * Math.max(...losses, 1e-9), low = Math.min(0, ...losses);
  const splits = [...new Set(runs.flatMap((run) => Object.keys(run.evaluated)))];
  const split = splits.includes("val") ? "val" : splits[0];
  const values = split ? runs.flatMap((run) => (run.evaluated[split] || []).map((point) => point[1])) : [];
  const p = panel(50, 8, 290, values.length ? 108 : 220, x, { low, high });
  const q = panel(50, 136, 290, 92, x, { low: 0, high: Math.min(101, 1.1 * Math.max(1, ...values)) });
  const draw = (at, each, points) => [svg("path", { class: `thin ${each.look}`, d: path(at, points.map((v) => v[0]),
    points.map((v) => v[1])) }), points.length < 12 && points.map((v) => mark(at, v[0], v[1], each.look))];
  const starts = drawn[0].runs[0].stages.slice(1);
  const figure = chart(360, 268, "Training curves", yAxis(p, ticks(low, high, 4), "loss"),
    drawn.map((each) => each.runs.map((run) => draw(p, each, run.loss))),
    values.length > 0 && [yAxis(q, ticks(0, q.y.high, 4), "%"),
      drawn.map((each) => each.runs.map((run) => draw(q, each, run.evaluated[split] || [])))],
    starts.map(([epoch, name]) => svg("g", {}, svg("line", { class: "edge", x1: p.X(epoch - 0.5), x2: p.X(epoch - 0.5), y1: 8,
      y2: 228 }), svg("text", { class: "soft", x: p.X(epoch - 0.5) - 3, y: 16, "text-anchor": "end" }, `${name} ▸`))),
    xAxis(values.length ? q : p, ticks(1, x.high, 5).filter((value) => value % 1 === 0), "epoch"));
  const metric = Object.values(table.metrics)[0];
  return card(shown.length > 1 ? "half" : "", "Training", `loss${values.length ? `; below: ${metric.title} on ${split}` : ""}; a line for each seed`,
    legend(drawn), figure);
}

function norms(shown, table) {
  const drawn = shown.filter((each) => each.detail.norms);
  if (!drawn.length || !table.classes.alike) return null;
  const order = inOrder(table.classes), all = drawn.flatMap((each) => each.detail.norms), few = fewClasses(table.classes);
  const high = 1.08 * Math.max(...all);
  const p = panel(44, 20, 296, 190, { low: -0.6, high: order.length - 0.4 }, { low: 0, high });
  const figure = chart(355, few ? 272 : 250, "Norms of the classifier's weights by class", yAxis(p, ticks(0, high, 4), "norm"),
    edges(p, groupEdges(table.classes, order), order.length > 8),
    drawn.map((each) => [svg("path", { class: `line ${each.look}`, d: path(p, each.detail.at, each.detail.norms) }),
      few && each.detail.norms.map((value, i) => mark(p, each.detail.at[i], value, each.look))]),
    ranks(p, table.classes, order, "classes, most frequent first"));
  return card(shown.length > 1 ? "half" : "", "Weight norms of the classifier", "mean over seeds, by class rank", legend(drawn), figure);
}
