/* Rows of a table that are drawn as they are scrolled to, so that a hundred thousand cost no more than fifty. */
const data = JSON.parse(document.getElementById("data").textContent);
const ROW = 25, AROUND = 12, MOST_PRINTED = 5000, MOST_PIXELS = 15e6;

// What does not show as itself is written out, as in every other report: a name cannot hide or turn its neighbours.
const UNSEEN = /[^\P{C}\n]|[\n\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f]/gu;
function shown(text) {
  return text.replace(UNSEEN, (each) => {
    const code = each.codePointAt(0), hex = code.toString(16);
    return code < 256 ? "\\x" + hex.padStart(2, "0") : code < 65536 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
  });
}
const count = (number) => (number == null ? "?" : number.toLocaleString("en-US"));
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
function size(bytes) {
  if (bytes == null) return "?";
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
  let unit = -1;
  for (; bytes >= 999.95 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes.toFixed(1)} ${units[unit]}`;
}
const shape = (sizes) => (sizes == null ? "?" : sizes.length ? sizes.join("x") : "scalar");
const path = (row) => (row.section ? `${row.section}.${row.name}` : row.name);
const counting = (text) => text.replace(/\d+/g, (digits) => digits.padStart(12, "0"));

function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") made.addEventListener("click", value);
    else if (value != null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/* A name of which the end always shows, for it tells more than its beginning. */
function nameCell(text) {
  const whole = shown(text), steps = whole.split(".");
  const end = steps.slice(-2).join("."), start = whole.slice(0, whole.length - end.length);
  return element("div", {}, element("span", { class: "start" }, start), element("span", { class: "end" }, end));
}

class Rows {
  /* columns: {title, text(row), sort(row), number, name, tone(row), narrow: false where it gives way} */
  constructor(section, rows, columns, noun, fields) {
    Object.assign(this, { rows, columns, noun, fields, filters: new Map(), sorted: null, descending: false, active: -1, first: -1, last: -1 });
    this.scroll = section.querySelector(".scroll");
    this.table = section.querySelector("table");
    this.output = section.querySelector("output");
    this.search = section.querySelector("input");
    this.names = null;
    this.body = element("tbody");
    this.table.append(this.widths(), this.head(), this.body);
    this.table.setAttribute("aria-colcount", columns.length);
    this.search.addEventListener("input", () => this.find(this.search.value));
    this.scroll.addEventListener("scroll", () => this.soon(), { passive: true });
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-at]");
      if (row) this.open(Number(row.dataset.at));
    });
    this.table.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw(true)).observe(this.scroll);
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    this.choose();
  }
  widths() {
    const step = Math.ceil(this.rows.length / 3000), group = element("colgroup");
    for (const column of this.columns) {
      let longest = column.title.length + 3;
      for (let at = 0; at < this.rows.length; at += step) longest = Math.max(longest, column.text(this.rows[at]).length);
      const made = element("col", { class: column.narrow === false ? "narrow-off" : column.swatch ? "swatches" : null });
      if (!column.name) made.style.width = `calc(${Math.min(longest, 44) * 0.86}ch + ${column.swatch ? 36 : 22}px)`;
      group.append(made);
    }
    return group;
  }
  head() {
    const row = element("tr");
    this.columns.forEach((column, at) => {
      const button = element("button", { type: "button", click: () => this.sort(at) }, column.title);
      row.append(element("th", { scope: "col", class: this.kind(column) }, button));
    });
    return element("thead", {}, row);
  }
  kind(column) {
    return [column.number ? "number" : "", column.narrow === false ? "narrow-off" : "", column.swatch ? "swatches" : "", column.name ? "name" : ""].join(" ").trim() || null;
  }
  sort(at) {
    const first = this.columns[at].number;
    if (this.sorted !== at) [this.sorted, this.descending] = [at, Boolean(first)];
    else if (this.descending === Boolean(first)) this.descending = !first;
    else this.sorted = null;
    [...this.table.tHead.rows[0].cells].forEach((cell, index) => {
      if (index === this.sorted) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.choose();
  }
  find(words) {
    const terms = words.trim().toLowerCase().split(/\s+/).filter(Boolean).map((term) =>
      term.includes("*") ? new RegExp(term.split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*")) : term);
    this.names ??= this.rows.map((row) => path(row).toLowerCase());
    const fits = (at) => terms.every((term) => (typeof term === "string" ? this.names[at].includes(term) : term.test(this.names[at])));
    this.filter("search", terms.length ? fits : null);
  }
  filter(name, fits) {
    if (fits) this.filters.set(name, fits); else this.filters.delete(name);
    this.choose();
  }
  choose() {
    const tests = [...this.filters.values()];
    let found = [];
    for (let at = 0; at < this.rows.length; at++) if (tests.every((fits) => fits(at))) found.push(at);
    if (this.sorted !== null) {
      const column = this.columns[this.sorted], turn = this.descending ? -1 : 1;
      const keys = found.map((at) => column.sort(this.rows[at]));
      const order = found.map((_, index) => index);
      // What is not known comes last in either direction; equal keys keep the artefact's order.
      order.sort((a, b) => {
        const [x, y] = [keys[a], keys[b]];
        if (x == null || y == null) return (x == null) - (y == null) || a - b;
        return (x < y ? -turn : x > y ? turn : 0) || a - b;
      });
      found = order.map((index) => found[index]);
    }
    this.chosen = found;
    this.active = -1;
    this.output.textContent = found.length === this.rows.length ? plural(found.length, this.noun) : `${count(found.length)} of ${plural(this.rows.length, this.noun)}`;
    this.drawable = Math.min(found.length, Math.floor(MOST_PIXELS / ROW));
    if (this.drawable < found.length) this.output.textContent += `; the first ${count(this.drawable)} are shown: search for the others`;
    this.table.setAttribute("aria-rowcount", found.length + 1);
    this.scroll.classList.toggle("short", found.length <= 24);
    this.scroll.scrollTop = 0;
    this.draw(true);
  }
  soon() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.draw(false); });
  }
  draw(anew) {
    const height = this.printing ? Infinity : this.scroll.clientHeight;
    const first = this.printing ? 0 : Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - AROUND);
    const last = Math.min(this.printing ? MOST_PRINTED : this.drawable, this.drawable, first + Math.ceil(height / ROW) + 2 * AROUND);
    if (!anew && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    const rows = [this.pad(first)];
    for (let at = first; at < last; at++) rows.push(this.row(at));
    rows.push(this.pad(this.printing ? 0 : this.drawable - last));
    this.body.replaceChildren(...rows);
  }
  pad(rows) {
    const row = element("tr", { class: "pad", "aria-hidden": "true" }, element("td"));
    row.style.height = `${rows * ROW}px`;
    row.hidden = rows === 0;
    return row;
  }
  row(at) {
    const record = this.rows[this.chosen[at]];
    const row = element("tr", { id: `${this.noun}-${at}`, "data-at": at, "aria-rowindex": at + 2, "aria-selected": at === this.active ? "true" : null });
    for (const column of this.columns) {
      const text = column.text(record);
      const cell = element("td", { class: [this.kind(column), column.tone?.(record)].filter(Boolean).join(" ") || null, title: column.name ? shown(text) : column.why?.(record) });
      if (column.swatch) cell.append(element("i", { class: `swatch ${column.swatch(record)}` }));
      cell.append(column.name ? nameCell(text) : column.swatch ? element("span", {}, shown(text)) : shown(text));
      row.append(cell);
    }
    return row;
  }
  key(event) {
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / ROW) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.target.closest("button")) return;
    if (event.key === "Enter" && this.active >= 0) this.open(this.active);
    else if (event.key in steps && this.drawable) this.go(Math.min(this.drawable - 1, Math.max(0, this.active + steps[event.key])));
    else return;
    event.preventDefault();
  }
  go(at) {
    this.active = at;
    const top = at * ROW, head = this.table.tHead.offsetHeight;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    if (top + ROW + head > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = top + ROW + head - this.scroll.clientHeight;
    this.draw(true);
    this.table.setAttribute("aria-activedescendant", `${this.noun}-${at}`);
    document.getElementById(`${this.noun}-${at}`)?.scrollIntoView({ block: "nearest" });
    if (detail.open) this.open(at);
  }
  open(at) {
    this.active = at;
    this.draw(true);
    const record = this.rows[this.chosen[at]];
    showDetail(path(record), this.fields ? this.fields(record) : record);
  }
  print(starts) {
    this.printing = starts;
    this.draw(true);
    const left = this.drawable - this.last;
    this.note?.remove();
    if (starts && left > 0) this.scroll.after((this.note = element("p", {}, `and ${plural(left, "row")} more, in the page itself`)));
  }
}

const detail = document.getElementById("detail");
function showDetail(title, record) {
  const fields = element("dl", { class: "fields" });
  for (const [name, value] of Object.entries(record)) {
    if (value == null || value === "" || name === "name") continue;
    const text = typeof value === "string" ? value : JSON.stringify(value);
    fields.append(element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, shown(text)));
  }
  const close = element("button", { type: "button", "aria-label": "Close", click: () => detail.close() }, "×");
  detail.replaceChildren(element("div", { class: "tools" }, element("h2", { id: "detail-title" }, shown(title)), close), fields);
  if (!detail.open) { const before = document.activeElement; detail.show(); before?.focus?.({ preventScroll: true }); }
}
addEventListener("keydown", (event) => { if (event.key === "Escape" && detail?.open) detail.close(); });

/* Buttons of which any may be pressed: what they name is shown, or all where none is. */
function toggles(buttons, name, change) {
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      change(new Set([...buttons].filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset[name])));
    });
  }
}

document.getElementById("save").addEventListener("click", (event) => {
  const link = element("a", { href: URL.createObjectURL(new Blob([document.getElementById("data").textContent], { type: "application/json" })), download: event.target.dataset.name });
  link.click();
  URL.revokeObjectURL(link.href);
});
