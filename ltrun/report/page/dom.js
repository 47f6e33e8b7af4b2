// Elements, numbers and formats. Text always enters as text, never as HTML.

const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const DASH = "–", MINUS = "−";

function make(space, tag, attributes, children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
const svg = (tag, attributes, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);

const there = (values) => values.filter((value) => value !== null && value !== undefined);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => (values.length ? sum(values) / values.length : null);

function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
}

function decimals(percent, size) { // as ltrun report prints: one place of a percentage, three digits of other numbers
  if (percent) return 1;
  return size ? Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(size))))) : 2;
}

function signed(value, places = 1) {
  const size = Math.abs(value).toFixed(places);
  return (Number(size) === 0 ? "" : value < 0 ? MINUS : "+") + size;
}
const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function bytes(text) { // base64 -> Uint8Array
  const raw = atob(text);
  return Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
}

function bits(text, count) { // base64 -> one byte, 0 or 1, for each image
  const packed = bytes(text), found = new Uint8Array(count);
  for (let i = 0; i < count; i++) found[i] = (packed[i >> 3] >> (7 - (i & 7))) & 1;
  return found;
}

function copied(button, text) {
  const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const select = () => {
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector("code"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select);
  else select();
}

function code(text) {
  const button = h("button", { type: "button", onclick: () => copied(button, text) }, "Copy");
  return h("div", { class: "code" }, h("pre", { tabindex: 0 }, h("code", {}, text)), button);
}
