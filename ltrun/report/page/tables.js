// The tables, their filters, and the state of the page, which its address keeps.

const data = read("data");
const PLAIN = { q: "", data: "", slot: "", group: "", metric: data.start.metric || "", split: data.start.split, sort: "", way: "",
  open: "" };
const state = { ...PLAIN, ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) };
const ids = () => state.open.split(",").filter(Boolean);

const view = {
  metricName: (table) => (table.metrics[state.metric] ? state.metric : Object.keys(table.metrics)[0]),
  metricOf: (table) => table.metrics[view.metricName(table)],
  splitOf: (table) => (table.splits.includes(state.split) ? state.split : table.splits[0]),
  valuesOf: (row, metric, split) => row.values[metric.cost ? "" : split ?? view.splitOf(tableOf(row.id))] || {},
};
const owners = new Map(data.tables.flatMap((table) => table.rows.map((row) => [row.id, table])));
const tableOf = (id) => owners.get(id);

function keep() {
  const said = new URLSearchParams(Object.entries(state).filter(([key, value]) => value !== PLAIN[key]));
  try { history.replaceState(null, "", `#${said}`); } catch { location.hash = said; }
}

function set(changes) {
  Object.assign(state, changes);
  keep();
  draw();
}

function columnsOf(table) { // numbers of the chosen metric, of the chosen group alone if there is one
  const metric = view.metricOf(table);
  return metric.columns.filter((column) => !state.group || !column.group || column.group === state.group);
}

function matches(table, row) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const said = [nameOf(table, row), table.title, table.heading, ...Object.entries(row.slots).map((pair) => pair.join("="))]
    .join(" ").toLowerCase();
  const [slot, option] = state.slot.split("=");
  return words.every((word) => said.includes(word)) && (!slot || row.slots[slot] === option);
}

function sorted(table, rows, columns) {
  const sign = state.way === "up" ? 1 : -1, metric = view.metricOf(table);
  const column = columns.find((each) => each.key === state.sort);
  const at = /^name(\d+)$/.exec(state.sort);
  const value = (row) => (column ? mean(there(view.valuesOf(row, metric)[column.key] || []))
    : state.sort === "n" ? row.seeds.length : state.sort === "gap" ? gapOf(row) : at ? row.names[Number(at[1])] : undefined);
  if (!column && !at && !["n", "gap"].includes(state.sort)) return rows;
  const keyed = rows.map((row) => [value(row), row]);
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  keyed.sort(([a], [b]) => (a === null || a === undefined) - (b === null || b === undefined) || sign * order(a, b));
  return keyed.map((pair) => pair[1]);
}

const gapOf = (row) => (row.published && row.published.gap !== DASH
  ? Number(row.published.gap.replace(MINUS, "-").replace("*", "")) : null);

function head(key, label, kind, lower) {
  const now = state.sort === key, down = now && state.way !== "up";
  const press = () => set(now && (down === !lower ? false : true) ? { sort: "", way: "" }
    : now ? { way: down ? "up" : "" } : { sort: key, way: lower ? "up" : "" });
  return h("th", { class: kind, scope: "col", "aria-sort": now ? (down ? "descending" : "ascending") : null },
    h("button", { type: "button", "data-key": `sort-${key}`, onclick: press, title: "Sort" }, label));
}

function number(values, column, n, rank) {
  const found = there(values || []);
  if (!found.length) return h("td", {}, DASH);
  const middle = mean(found), places = decimals(column.percent, middle), spread = deviation(found);
  const shown = middle.toFixed(places);
  return h("td", {}, rank === "best" ? h("b", {}, shown) : rank === "second" ? h("u", {}, shown) : shown,
    spread !== null && h("i", {}, ` ± ${spread.toFixed(places)}`), found.length < n && h("i", {}, ` (${found.length}/${n})`));
}

function line(table, row, columns, beside, marks) {
  const at = ids().indexOf(row.id), look = at < 0 ? "" : LOOKS[at], both = ids().length > 1, metric = view.metricOf(table);
  const values = view.valuesOf(row, metric), n = row.seeds.length;
  const name = h("button", { type: "button", "data-key": row.id, "aria-expanded": at >= 0 ? "true" : "false" }, row.names[0]);
  const badges = [at >= 0 && both && h("span", { class: `badge ${look}` }, look.toUpperCase()),
    n < row.of && h("span", { class: "badge", title: `${n} of ${row.of} seeds have finished` }, `${n}/${row.of} seeds`),
    row.saw && h("span", { class: "badge", title: "This row's predictor saw test inputs" }, "saw test inputs")];
  return h("tr", { class: `row ${look}`, id: row.id.replace("r", "row-"), onclick: (event) => click(table, row.id, event) },
    h("th", { class: "name", scope: "row" }, name, badges), row.names.slice(1).map((each) => h("td", { class: "name" }, each)),
    columns.map((column) => number(values[column.key], column, n, marks(column, row))), h("td", {}, String(n)),
    beside && [h("td", { title: row.published ? row.published.text : null }, row.published ? row.published.number : DASH),
      h("td", { title: row.published && row.published.changes ? `another recipe: ${row.published.changes}` : null },
        row.published ? row.published.gap : DASH)]);
}

function click(table, id, event) {
  if (event && String(getSelection()) && event.target.tagName !== "BUTTON") return; // a reader selects text
  const now = ids(), other = now.length && tableOf(now[0]) !== table;
  say(other && now.length ? "Rows of different tables have different test images, so they are not compared." : "");
  const open = now.includes(id) ? now.filter((each) => each !== id) : [...(other ? [] : now), id].slice(-2);
  set({ open: open.join(",") });
  focusOn(id);
}

const say = (words) => { $("said").textContent = words; };

function focusOn(key) {
  const found = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (found) found.focus({ preventScroll: true });
}

function notesOn(table, columns, verdicts) {
  const metric = view.metricOf(table), by = { better: [], "within noise": [], equal: [], "one run": [] };
  metric.columns.forEach((column, i) => { if (verdicts[i] && columns.includes(column)) by[verdicts[i][2]].push(column.head); });
  const said = [["better", "Bold: the best mean, where it differs from the second (underlined) by more than noise (Welch's t-test over seeds, p < 0.05)"],
    ["within noise", "Not bold, because the best two differ within noise"], ["equal", "Not bold, because the best two are equal as printed"],
    ["one run", "Not bold, because a single run shows no noise"]];
  return said.filter(([kind]) => by[kind].length).map(([kind, words]) => (kind === "better" ? words : `${words}: ${by[kind].join(", ")}`));
}

function section(table, at) {
  const rows = table.rows.filter((row) => matches(table, row)), metric = view.metricOf(table), split = view.splitOf(table);
  if ((state.data && state.data !== table.title) || !rows.length) return null;
  const columns = columnsOf(table), name = view.metricName(table), verdicts = ((table.best[split] || {})[name]) || [];
  const marks = (column, row) => {
    const found = verdicts[metric.columns.indexOf(column)];
    if (!found || found[2] !== "better") return "";
    return table.rows[found[0]] === row ? "best" : table.rows[found[1]] === row ? "second" : "";
  };
  const first = name === Object.keys(table.metrics)[0] && split === "test";
  const beside = first && table.rows.some((row) => row.published && row.published.number !== DASH);
  const open = ids().filter((id) => table.rows.some((row) => row.id === id)), last = open[open.length - 1];
  const width = table.heads.length + columns.length + 1 + (beside ? 2 : 0);
  const body = sorted(table, rows, columns).flatMap((row) => [line(table, row, columns, beside, marks),
    row.id === last && h("tr", { class: "panel" }, h("td", { colspan: width }, panelOf(table, open, view, shut)))]);
  const unit = columns[0] && columns[0].percent ? " (%)" : "", shots = columns.some((column) => column.group);
  const says = [metric.title + unit + (metric.cost ? "" : ` on the ${split} split`)
    + (table.rows.some((row) => row.seeds.length > 1) ? ": mean ± standard deviation over seeds (n - 1 in the denominator)" : ""),
  shots && `Training images a class: ${Object.entries(table.ranges).map(([key, range]) => `${data.groups[key].toLowerCase()} ${range}`).join(", ")}`, ...metric.told];
  const notes = [...table.notes, ...notesOn(table, columns, verdicts),
    beside && rows.some((row) => row.published && row.published.gap.includes("*")) && "* the row's recipe differs from the published one"];
  return h("section", { class: "table", "aria-labelledby": `table-${at}` }, h("h2", { id: `table-${at}` }, table.heading),
    h("dl", { class: "facts" }, table.facts.map(([key, words]) => h("div", {}, h("dt", {}, key), h("dd", {}, words)))),
    h("div", { class: "scroll" }, h("table", { class: "rows", "aria-labelledby": `table-${at}` },
      h("thead", {}, h("tr", {}, table.heads.map((each, i) => head(`name${i}`, each, "name", true)),
        columns.map((column) => head(column.key, column.head, "", column.better === "lower")), head("n", "n", ""),
        beside && [h("th", {}, h("button", { type: "button", disabled: true }, "Published")), head("gap", "Gap", "")])),
      h("tbody", {}, body))),
    h("p", { class: "caption" }, says.filter(Boolean).join(". "), "."),
    notes.filter(Boolean).map((note) => h("p", { class: "notes" }, note)));
}

function draw() {
  const kept = document.activeElement && document.activeElement.dataset.key;
  const made = data.tables.map(section), shown = made.filter(Boolean);
  $("tables").replaceChildren(...(shown.length ? shown : [h("p", {}, data.tables.length ? "No row fits these filters." : "No run has finished yet.")]));
  const rows = sum(data.tables.map((table, i) => (made[i] ? table.rows.filter((row) => matches(table, row)).length : 0)));
  $("count").textContent = `${rows.toLocaleString("en")} of ${counted(sum(data.tables.map((table) => table.rows.length)), "row")}`;
  if (kept) focusOn(kept);
}

function shut() {
  const [first] = ids().slice(-1);
  say("");
  set({ open: "" });
  if (first) focusOn(first);
}
