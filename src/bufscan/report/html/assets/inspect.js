const WORDS = { parameter: "parameter", persistent_buffer: "persistent buffer", non_persistent_buffer: "non-persistent buffer", unregistered: "unregistered", training_state: "training state" };
const MARKS = { exact: "", inferred: "~", assumed: "?" };
const fact = (letter, value) => (value == null ? "?" : value ? letter : "-");
const words = (letter, value) => (value == null ? "not known whether it is" : value ? "" : "not ") + { S: "saved in the state_dict", M: "moved with .to(device)", T: "trained" }[letter];
const differ = (rows, field) => new Set(rows.slice(0, 2e5).map((row) => row[field])).size > 1;

if (document.querySelector("[data-rows=tensors]")) {
  const rows = data.tensors;
  const columns = [
    { title: "name", name: true, text: path, sort: (row) => counting(path(row)) },
    { title: "role", text: (row) => WORDS[row.role] + MARKS[row.certainty], sort: (row) => Object.keys(WORDS).indexOf(row.role), swatch: (row) => row.role, tone: (row) => row.role, why: (row) => shown(`${row.certainty}: ${row.evidence}`) },
    { title: "shape", text: (row) => shape(row.shape) + (row.layout && row.layout !== "strided" ? ` ${row.layout}` : ""), sort: (row) => row.numel, narrow: false },
    { title: "dtype", text: (row) => row.dtype ?? "?", sort: (row) => row.dtype, narrow: false },
    { title: "device", text: (row) => row.device ?? "?", sort: (row) => row.device, narrow: false },
    { title: "elements", number: true, text: (row) => count(row.numel), sort: (row) => row.numel, narrow: false },
    { title: "size", number: true, text: (row) => (row.alias_of != null ? "tied" : size(row.nbytes)), sort: (row) => (row.alias_of != null ? 0 : row.nbytes) },
    { title: "SMT", text: (row) => fact("S", row.saved) + fact("M", row.moves) + fact("T", row.trains), sort: (row) => fact("S", row.saved) + fact("M", row.moves) + fact("T", row.trains), tone: () => "facts", narrow: false, why: (row) => [["S", row.saved], ["M", row.moves], ["T", row.trains]].map((each) => words(...each)).join(", ") },
  ].filter((column) => !["dtype", "device"].includes(column.title) || differ(rows, column.title));
  const section = document.querySelector("[data-rows=tensors]");
  const table = new Rows(section, rows, columns, "tensor");
  const same = ["dtype", "device"].filter((field) => rows.length && !differ(rows, field) && rows[0][field] != null).map((field) => (field === "device" ? "on " : "") + rows[0][field]);
  if (same.length) section.querySelector(".tools").append(element("span", { class: "facts" }, `all ${shown(same.join(" "))}`));
  toggles(document.querySelectorAll("[data-role]"), "role", (roles) => table.filter("role", roles.size ? (at) => roles.has(rows[at].role) : null));
  new Treemap(document.getElementById("map"), treeOf(rows), (node) => {
    const inside = new Set();
    const add = (each) => { if (each.row !== null) inside.add(each.row); each.children.forEach(add); };
    if (node.parent) add(node);
    table.filter("module", node.parent ? (at) => inside.has(at) : null);
  });
}
