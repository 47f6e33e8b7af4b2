// What the page does when it opens: filters, keys, light and dark, and loading anew while runs go on.

function choice(label, key, options) { // options: [[value, text]] or [[heading, [[value, text]]]]
  const one = ([value, words]) => (Array.isArray(words) ? h("optgroup", { label: value }, words.map(one))
    : h("option", { value, selected: state[key] === value }, words));
  const select = h("select", { "data-key": key, onchange: (event) => set({ [key]: event.target.value }) }, options.map(one));
  return h("label", {}, label, select);
}

function filters() {
  const tables = data.tables, metrics = new Map(), slots = new Map(), splits = new Set();
  for (const table of tables) {
    Object.entries(table.metrics).forEach(([key, metric]) => metrics.set(key, metric.title));
    table.splits.forEach((split) => splits.add(split));
    for (const row of table.rows) {
      Object.entries(row.slots).forEach(([slot, option]) => slots.set(slot, (slots.get(slot) || new Set()).add(option)));
    }
  }
  const search = h("input", { type: "search", "data-key": "q", value: state.q, placeholder: "method, slot=option, data set …",
    oninput: (event) => { const value = event.target.value; clearTimeout(filters.timer);
      filters.timer = setTimeout(() => set({ q: value }), 120); } });
  const alone = [...slots].map(([slot, options]) => [slot, [...options].sort().map((option) => [`${slot}=${option}`, option])]);
  if (!metrics.has(state.metric)) state.metric = metrics.keys().next().value || "";
  if (!splits.has(state.split)) state.split = [...splits][0] || "";
  $("filters").append(h("label", {}, "Search", search),
    tables.length > 1 && choice("Data set", "data", [["", "all"], ...tables.map((table) => [table.title, table.heading])]),
    alone.length > 0 && choice("Slot", "slot", [["", "any"], ...alone]),
    choice("Metric", "metric", [...metrics]), splits.size > 1 && choice("Split", "split", [...splits].map((split) => [split, split])),
    choice("Classes", "group", [["", "all groups"], ...Object.entries(data.groups)]), h("output", { id: "count" }));
  for (const child of [...$("filters").childNodes]) if (child.nodeType === 3) child.remove();
  $("filters").addEventListener("submit", (event) => event.preventDefault());
}

function news() { // runs without a result, and files that the tables leave out
  const word = (each) => [h("b", {}, each.state), ` ${each.title}`, each.epochs !== null && each.epoch !== null
    && `, epoch ${each.epoch} of ${each.epochs}`, each.left !== null && each.state === "running" && `, ${duration(each.left)} left`,
  each.reason && `: ${each.reason}`];
  const counts = Object.entries(data.counts).map(([key, n]) => `${n.toLocaleString("en")} ${key}`).join(", ");
  if (!data.begun.length && !data.problems.length) return;
  const problems = data.problems.length ? `${counted(data.problems.length, "file")} not in the tables` : "";
  $("news").append(h("details", { open: data.reload !== null && data.begun.length < 9 },
    h("summary", {}, [data.begun.length && `Runs: ${counts}`, problems].filter(Boolean).join("; ")),
    h("ul", {}, data.begun.map((each) => h("li", {}, word(each))), data.problems.map((problem) => h("li", {}, problem)))));
}

function theme() { // the system's choice until the reader makes another
  const stored = (() => { try { return localStorage.getItem("ltrun-theme"); } catch { return null; } })();
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = (name) => {
    document.documentElement.dataset.theme = name;
    $("theme").textContent = name === "dark" ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", `Show the page in ${name === "dark" ? "light" : "dark"} colours`);
  };
  let chosen = stored;
  const now = () => chosen || (system.matches ? "dark" : "light");
  system.addEventListener("change", () => show(now()));
  addEventListener("beforeprint", () => show("light"));
  addEventListener("afterprint", () => show(now()));
  $("theme").addEventListener("click", () => {
    chosen = now() === "dark" ? "light" : "dark";
    try { localStorage.setItem("ltrun-theme", chosen); } catch { /* a file may have no storage */ }
    show(chosen);
  });
  show(now());
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "Escape") {
    if (typing && state.q) { document.querySelector("[data-key=q]").value = ""; set({ q: "" }); } else if (ids().length) shut();
    return;
  }
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.querySelector("[data-key=q]").focus();
    return;
  }
  if (typing || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
  const rows = [...document.querySelectorAll("tr.row th button")], at = rows.indexOf(document.activeElement);
  if (!rows.length || (at < 0 && document.activeElement !== document.body)) return;
  const to = { ArrowDown: Math.min(at + 1, rows.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 };
  event.preventDefault();
  rows[to[event.key]].focus();
}

function again() { // a page that `--watch` writes loads itself anew and keeps its place
  if (data.reload === null) return;
  const store = (() => { try { return sessionStorage; } catch { return null; } })();
  let live = !(store && store.getItem("ltrun-pause"));
  const show = () => { $("live").textContent = live ? "Live: pause" : "Paused: go on"; };
  $("live").hidden = false;
  $("live").addEventListener("click", () => {
    live = !live;
    if (store) { if (live) store.removeItem("ltrun-pause"); else store.setItem("ltrun-pause", "1"); }
    show();
  });
  show();
  if (store && store.getItem("ltrun-place")) scrollTo(0, Number(store.getItem("ltrun-place")));
  setInterval(() => {
    const busy = String(getSelection()) || document.activeElement.tagName === "SELECT" || document.activeElement.tagName === "INPUT";
    if (!live || document.hidden || busy) return;
    if (store) store.setItem("ltrun-place", String(scrollY));
    location.reload();
  }, 1000 * data.reload);
}

const started = performance.now();
theme();
filters();
news();
draw();
document.addEventListener("keydown", keys);
addEventListener("hashchange", () => { Object.assign(state, PLAIN, Object.fromEntries(new URLSearchParams(location.hash.slice(1)))); draw(); });
$("print").addEventListener("click", () => print());
const written = new Date(data.made);
$("made").textContent = `written ${written.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })} by ltrun ${data.version}`;
again();
document.documentElement.dataset.ready = Math.round(performance.now() - started);
