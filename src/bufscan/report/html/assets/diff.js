/* Where values moved: a row for what the layers have in common, a column for each layer. */
const MOST_LAYERS = 256, MOST_KINDS = 60, NO_LAYER = -1;
const SIGNS = { added: "+", removed: "−" };
const relative = (row) => row.values?.rel_l2 ?? null;
const digits = (number) => (number == null ? "" : number === 0 ? "0" : Number(number.toPrecision(2)).toString());

function kindsOf(rows) {
  const kinds = new Map(), layers = new Set();
  rows.forEach((row, at) => {
    const name = path(row), found = /(^|[.[])(\d{1,6})(?=[.\]]|$)/.exec(name);
    const layer = found ? Number(found[2]) : NO_LAYER;
    const kind = found ? `${name.slice(0, found.index + found[1].length)}*${name.slice(found.index + found[0].length)}` : name;
    if (!kinds.has(kind)) kinds.set(kind, new Map());
    kinds.get(kind).set(layer, at);
    if (found) layers.add(layer);
  });
  return { kinds, layers: [...layers].sort((a, b) => a - b) };
}

function heat(section, rows, show) {
  const { kinds, layers } = kindsOf(rows);
  if (!layers.length) return;
  const most = (cells) => Math.max(-1, ...[...cells.values()].map((at) => relative(rows[at]) ?? -1));
  const ordered = [...kinds].map(([kind, cells]) => ({ kind, cells, most: most(cells) })).sort((a, b) => b.most - a.most);
  const numbers = rows.map(relative).filter((number) => number > 0);
  const low = Math.log(Math.min(...numbers.slice(0, 1e5))), high = Math.log(Math.max(...numbers.slice(0, 1e5)));
  const depth = (number) => (high > low ? 12 + (88 * (Math.log(number) - low)) / (high - low) : 70);
  const colour = (number) => `color-mix(in oklab, var(--heat) ${depth(number).toFixed(0)}%, var(--raised))`;
  const columns = layers.slice(0, MOST_LAYERS), others = ordered.some((each) => each.cells.has(NO_LAYER));
  const head = element("tr", {}, element("th", { scope: "col" }, "layer"));
  if (others) head.append(element("th", { scope: "col", title: "in no layer" }, "–"));
  const step = Math.ceil(columns.length / 64);
  columns.forEach((layer, at) => head.append(element("th", { scope: "col" }, at % step ? "" : String(layer))));
  const body = element("tbody");
  for (const { kind, cells } of ordered.slice(0, MOST_KINDS)) {
    const line = element("tr", {}, element("th", { scope: "row", title: shown(kind) }, shown(kind.length > 60 ? `${kind.slice(0, 24)}…${kind.slice(-35)}` : kind)));
    for (const layer of [...(others ? [NO_LAYER] : []), ...columns]) {
      const at = cells.get(layer), cell = element("td");
      if (at !== undefined) {
        const row = rows[at], number = relative(row);
        const says = number == null ? row.status : `${digits(number)} relative change`;
        cell.title = `${shown(path(row))}: ${says}`;
        cell.addEventListener("click", () => show(row));
        const inner = element("span", {}, number == null ? SIGNS[row.status] ?? "≠" : element("span", { class: "hidden" }, digits(number)));
        if (number > 0) inner.style.background = colour(number);
        cell.append(inner);
      }
      line.append(cell);
    }
    body.append(line);
  }
  section.querySelector("table").append(element("thead", {}, head), body);
  const legend = section.querySelector(".legend");
  if (numbers.length) {
    const steps = high > low ? [0, 0.25, 0.5, 0.75, 1].map((part) => Math.exp(low + part * (high - low))) : [Math.exp(high)];
    for (const number of steps) {
      const swatch = element("i");
      swatch.style.background = colour(number);
      legend.append(element("span", {}, swatch, ` ${digits(number)}`));
    }
    legend.append("norm of the change over that of the old values; ");
  }
  const left = [[ordered.length - MOST_KINDS, "row"], [layers.length - MOST_LAYERS, "layer"]].filter(([number]) => number > 0).map(([number, noun]) => `${plural(number, noun)} more below`);
  legend.append(["+ added", "− removed", "≠ something else than values", "empty: no difference", ...left].join(", "));
  section.hidden = false;
}

if (document.querySelector("[data-rows=entries]")) {
  const rows = data.entries;
  const aspect = (value) => (value == null ? "none" : Array.isArray(value) ? (value.every((each) => typeof each === "number") ? shape(value) : value.join(", ")) : String(value));
  const what = (row) => [
    row.status === "renamed" ? `was ${row.old_section ? `${row.old_section}.` : ""}${row.old_name}` : "",
    ...Object.entries(row.changes).map(([name, [old, now]]) => `${name.replaceAll("_", " ")} ${aspect(old)} → ${aspect(now)}`),
    row.remark ?? "",
  ].filter(Boolean).join("; ");
  const side = (row) => row.new ?? row.old;
  const share = (row) => (row.values?.changed == null || !row.values.numel ? null : (100 * row.values.changed) / row.values.numel);
  const columns = [
    { title: "name", name: true, text: path, sort: (row) => counting(path(row)) },
    { title: "status", text: (row) => row.status, sort: (row) => row.status, swatch: (row) => row.status, tone: (row) => row.status },
    { title: "shape", text: (row) => shape(side(row)?.shape), sort: (row) => (side(row)?.shape ?? []).reduce((a, b) => a * b, 1), narrow: false },
    { title: "changed", number: true, text: (row) => (share(row) == null ? "" : `${share(row).toFixed(1)} %`), sort: share, narrow: false },
    { title: "relative", number: true, text: (row) => digits(relative(row)), sort: relative },
    { title: "largest", number: true, text: (row) => digits(row.values?.max_abs), sort: (row) => row.values?.max_abs, narrow: false },
    { title: "cosine", number: true, text: (row) => (row.values?.cosine == null ? "" : row.values.cosine.toFixed(4)), sort: (row) => row.values?.cosine, narrow: false },
    { title: "what", text: what, sort: what, narrow: false, why: (row) => shown(what(row)) || null },
  ].filter((column) => column.title !== "what" || rows.some(what));
  const flat = (row) => ({ status: row.status, ...(row.status === "renamed" ? { old_name: row.old_name, old_section: row.old_section } : {}), changes: Object.keys(row.changes).length ? row.changes : null, ...row.values, remark: row.remark, relation: row.relation, old: row.old, new: row.new });
  const table = new Rows(document.querySelector("[data-rows=entries]"), rows, columns, "tensor", flat);
  toggles(document.querySelectorAll("[data-status]"), "status", (chosen) => table.filter("status", chosen.size ? (at) => chosen.has(rows[at].status) : null));
  if (rows.some((row) => relative(row) != null)) table.sort(columns.findIndex((column) => column.title === "relative"));
  heat(document.getElementById("heat"), rows, (row) => showDetail(path(row), flat(row)));
}
