// The panel below an opened row: one row with its figures, or two rows compared.

const opened = new Map();

function details(id) {
  if (!opened.has(id)) opened.set(id, read(id));
  return opened.get(id);
}

const nameOf = (table, row) => row.names.map((name, i) => (i ? `${table.heads[i]}=${name}` : name)).join(", ");
const yamlOf = (detail) => detail.yaml.map((line) => data.lines[line]);

function dotted(lines) { // lines of YAML -> Map of dotted key -> value
  const found = new Map(), stack = [];
  let before = "";
  for (const line of lines) {
    const match = /^( *)([^\s:#'"-][^:]*): ?(.*)$/.exec(line);
    if (!match) { if (before) found.set(before, `${found.get(before) || ""} ${line.trim()}`.trim()); continue; }
    const depth = match[1].length;
    while (stack.length && stack[stack.length - 1][0] >= depth) stack.pop();
    before = [...stack.map((step) => step[1]), match[2]].join(".");
    if (match[3] === "") stack.push([depth, match[2]]); else found.set(before, match[3]);
  }
  return found;
}

function seeds(each, table, view) { // a line for each run, with the numbers of the chosen metric
  const metric = view.metricOf(table), values = view.valuesOf(each.row, metric);
  const runs = each.detail.runs, columns = metric.columns.filter((column) => values[column.key]);
  return h("div", { class: "card whole" }, h("h4", {}, "Runs", h("small", {}, `${metric.title}; the folder of each run`)),
    h("div", { class: "scroll" }, h("table", { class: "small" },
      h("thead", {}, h("tr", {}, h("th", {}, "Seed"), columns.map((column) => h("th", {}, column.head)), h("th", {}, "Time"),
        ["Date", "Commit", "Device", "Folder"].map((head) => h("th", { class: "name" }, head)))),
      h("tbody", {}, runs.map((run, i) => h("tr", {}, h("td", {}, String(run.seed)),
        columns.map((column) => h("td", {}, text(values[column.key][i], column))), h("td", {}, duration(run.seconds)),
        [run.date.slice(0, 16).replace("T", " "), run.commit, run.device, run.address]
          .map((word) => h("td", { class: "name" }, word))))))));
}

const text = (value, column) => (value === null || value === undefined ? DASH : value.toFixed(decimals(column.percent, value)));

function published(each) {
  const told = each.row.published;
  if (!told) return null;
  return h("div", { class: "card whole" }, h("h4", {}, "Published"),
    h("p", {}, h("b", {}, told.number), `  ${told.text}`), h("p", {}, "Recipe: ", h("code", {}, told.recipe)),
    h("p", {}, told.changes ? `This row differs from it in ${told.changes}` : "This row trains this recipe.",
      told.gap !== DASH && `; gap ${told.gap.replace("*", "")} points`));
}

function commands(each) {
  const [first] = each.detail.runs, slots = Object.entries(each.row.slots).map((pair) => pair.join("=")).join("  ");
  return h("div", { class: "card half" }, h("h4", {}, "Command", first.remark && h("small", {}, first.remark)), code(first.command),
    slots && h("p", {}, h("small", {}, `Slots: ${slots}`)),
    each.detail.runs.length > 1 && h("p", {}, h("small", {}, `Seeds: ${each.row.seeds.join(", ")}`)));
}

function yaml(each, start) {
  const lines = yamlOf(each.detail).join("\n");
  const box = h("details", { class: "card whole" }, h("summary", {}, start || "Configuration (YAML)"));
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(code(lines)); });
  return box;
}

function remarks(shown) {
  const found = [...new Set(shown.flatMap((each) => each.detail.notes))];
  return found.length > 0 && h("div", { class: "card whole" }, h("h4", {}, "Left out"), found.map((note) => h("p", {}, note)));
}

function panelOf(table, ids, view, close) {
  const shown = ids.map((id, i) => {
    const row = table.rows.find((each) => each.id === id);
    return { row, detail: details(id), name: nameOf(table, row), look: LOOKS[i] };
  });
  const title = shown.map((each) => [shown.length > 1 && h("span", { class: `badge ${each.look}` }, each.look.toUpperCase()),
    ` ${each.name}`]);
  const head = h("div", { class: "title" }, h("h3", {}, title.length > 1 ? [title[0], " against ", title[1]] : title[0]),
    h("button", { type: "button", class: "close", onclick: close }, "Close"));
  const split = view.splitOf(table);
  const one = shown.length === 1, groups = confusion(shown, table);
  const figures = [perClass(shown, table, split), one ? h("div", { class: "stack" }, groups, commands(shown[0])) : groups,
    reliability(shown, table), training(shown, table), norms(shown, table)];
  const rest = shown.length > 1
    ? [differing(shown), ...shown.map((each) => yaml(each, `Configuration of ${each.name} (YAML)`))]
    : [seeds(shown[0], table, view), published(shown[0]), yaml(shown[0])];
  return h("div", { class: "inside" }, head, h("div", { class: "cards" }, shown.length > 1 && comparison(shown, table, view),
    figures, rest, remarks(shown)));
}

function differing(shown) {
  const [one, other] = shown.map((each) => dotted(yamlOf(each.detail)));
  const keys = [...new Set([...one.keys(), ...other.keys()])].filter((key) => key !== "seed" && one.get(key) !== other.get(key));
  return h("div", { class: "card whole" }, h("h4", {}, "Configuration", h("small", {},
    keys.length ? "keys in which the rows differ" : "the rows differ in no key")),
  keys.length > 0 && h("div", { class: "scroll" }, h("table", { class: "small" }, h("thead", {}, h("tr", {},
    ["Key", ...shown.map((each) => each.name)].map((head) => h("th", { class: "name" }, head)))),
  h("tbody", {}, keys.map((key) => h("tr", {}, [key, one.get(key) ?? DASH, other.get(key) ?? DASH]
    .map((word) => h("td", { class: "name" }, word))))))));
}

// [{column, difference, half, p, n, images, by}], differences in the unit of the table, A less B, over paired seeds
function differences(shown, table, view) {
  const [one, other] = shown, metric = view.metricOf(table), split = view.splitOf(table);
  const paired = one.row.seeds.filter((seed, i, all) => all.indexOf(seed) === i && other.row.seeds.includes(seed));
  const name = view.metricName(table), images = table.images;
  const hits = images && split === "test" && ["accuracy", "error", "macro"].includes(name)
    && paired.every((seed) => one.detail.hits[seed] && other.detail.hits[seed]);
  if (!paired.length) return { paired, metric, found: [] };
  const found = [];
  const unpacked = hits && shown.map((each) => paired.map((seed) => bits(each.detail.hits[seed], images.count)));
  const labels = hits && new Uint16Array(bytes(images.labels).buffer);
  metric.columns.forEach((column) => {
    if (hits) {
      const group = column.group && Object.keys(data.groups).indexOf(column.group);
      const some = [...labels.keys()].filter((i) => column.group === null || table.classes.groups[labels[i]] === group);
      if (!some.length) return;
      const [ours, theirs] = unpacked.map((rows) => rows.map((row) => some.map((i) => row[i])));
      const byClass = name === "macro" || column.group !== null;
      const told = byImages(ours, theirs, byClass ? weightsOf(some.map((i) => labels[i])) : null);
      const factor = name === "error" ? -100 : 100;
      found.push({ column, ...told, difference: factor * told.difference, half: 100 * told.half, by: "images" });
      return;
    }
    const [ours, theirs] = shown.map((each) => paired.map((seed) =>
      (view.valuesOf(each.row, metric)[column.key] || [])[each.row.seeds.indexOf(seed)]));
    const whole = ours.map((_, i) => i).filter((i) => there([ours[i], theirs[i]]).length === 2);
    if (whole.length) found.push({ column, ...bySeeds(whole.map((i) => ours[i]), whole.map((i) => theirs[i])), by: "seeds" });
  });
  return { paired, metric, found };
}

function weightsOf(labels) { // classes count alike: N / (C * images of the class); null where they do anyway
  const counts = new Map();
  labels.forEach((label) => counts.set(label, (counts.get(label) || 0) + 1));
  if (new Set(counts.values()).size === 1) return null;
  return labels.map((label) => labels.length / (counts.size * counts.get(label)));
}

function comparison(shown, table, view) {
  const { paired, metric, found } = differences(shown, table, view);
  if (!paired.length) {
    return h("div", { class: "card whole" }, h("p", {}, "The rows have no seed in common, so their runs cannot be paired."));
  }
  const percent = metric.columns[0].percent, unit = percent ? " points" : "";
  const line = (each) => {
    const places = decimals(each.column.percent, each.difference), better = (each.difference > 0) === (each.column.better !== "lower");
    const sure = each.p !== null && each.p < 0.05 && each.difference !== 0, winner = shown[better ? 0 : 1];
    const verdict = each.p === null ? "one seed shows no noise" : !sure ? `cannot be told apart with n = ${each.n}`
      : each.column.better === null ? "differ" : `${winner.look.toUpperCase()} is better`;
    return h("tr", {}, h("th", { class: "name" }, each.column.head),
      h("td", {}, signed(each.difference, places), each.half !== null && h("i", {}, ` ± ${each.half.toFixed(places)}`)),
      h("td", {}, each.half === null ? DASH
        : `${signed(each.difference - each.half, places)} to ${signed(each.difference + each.half, places)}`),
      h("td", {}, each.p === null ? DASH : each.p < 0.001 ? "< 0.001" : each.p.toFixed(3)),
      h("td", {}, each.images === null ? DASH : `${signed(each.images, 0)} of ${each.of.toLocaleString("en")}`),
      h("td", { class: `name ${sure ? "better" : ""}` }, verdict));
  };
  const images = found.some((each) => each.by === "images"), n = paired.length;
  const over = `${counted(n, "paired seed")} (${paired.join(", ")})`;
  const said = images
    ? n > 1 ? "Interval: noise of seeds and of test images." : "One seed: the interval has the noise of the test images alone, and says nothing on other seeds."
    : [n > 1 ? `Interval from ${n} paired seeds alone (paired t-test).` : "One seed shows no noise.", ...ofCompare(shown, table, view)];
  return h("div", { class: "card whole", id: "comparison" },
    h("h4", {}, `${metric.title}: A less B${unit && `, in${unit}`}`, h("small", {}, `on ${view.splitOf(table)}, ${over}`)),
    h("div", { class: "scroll" }, h("table", { class: "small" }, h("thead", {}, h("tr", {}, h("th", { class: "name" }, ""),
      ["A − B", "95 % interval", "p", "Images"].map((head) => h("th", {}, head)), h("th", { class: "name" }, "Verdict"))),
    h("tbody", {}, found.map(line)))), forest(found), h("p", {}, h("small", {}, said)));
}

function ofCompare(shown, table, view) { // the command whose interval has the test images too, where there is one
  const metric = view.metricOf(table), words = shown.map((each) => each.row.word);
  if (metric.cost || view.splitOf(table) !== "test" || words.includes(null)) return [];
  const known = Object.keys(table.metrics).filter((name) => table.metrics[name].compared);
  if (!metric.compared) return [` For ${known.join(", ")}, 'ltrun compare' has the noise of test images too.`];
  const where = data.tables.length > 1 ? ` --dataset ${table.word}` : "";
  return [" With the noise of test images too: ", h("code", {}, `ltrun compare ${words.join(" ")} --metric ${view.metricName(table)}${where}`)];
}

function forest(found) { // the intervals around zero
  const drawn = found.filter((each) => each.half !== null && each.column.percent);
  if (!drawn.length) return null;
  const most = Math.max(1, ...drawn.map((each) => Math.abs(each.difference) + each.half)) * 1.05;
  const width = innerWidth < 640 ? 270 : innerWidth > 960 ? 1010 : 660;
  const p = panel(70, 6, width, 24 * drawn.length, { low: -most, high: most }, { low: 0, high: drawn.length });
  return chart(width + 90, 24 * drawn.length + 44, "Differences with their 95 % intervals",
    svg("line", { class: "edge", x1: p.X(0), x2: p.X(0), y1: p.top, y2: p.top + p.height }),
    drawn.map((each, i) => {
      const y = p.top + 24 * i + 12, look = each.difference >= 0 ? "a" : "b", at = (value) => p.X(value).toFixed(1);
      return svg("g", {}, svg("text", { x: 62, y: y + 4, "text-anchor": "end" }, each.column.head),
        svg("path", { class: `line ${look}`, style: "stroke-dasharray:none",
          d: `M${at(each.difference - each.half)} ${y}H${at(each.difference + each.half)}` }),
        mark({ X: (value) => p.X(value), Y: () => y }, each.difference, 0, look));
    }),
    xAxis(p, ticks(-most, most, width < 300 ? 4 : 8), "B is higher  ◂   points   ▸  A is higher", (value) => (value ? signed(value, value % 1 ? 1 : 0) : "0")));
}
