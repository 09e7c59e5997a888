/* Bytes by module: a tree of names, drawn as nested rectangles whose areas are bytes. */
const STEPS = /\[(?:'[^']*'|[^\]]*)\]|[^.[]+/g;
const MOST_RECTANGLES = 4000, MOST_MODULES = 500, FEW_MODULES = 18, HEADING = 16;

function bytesOf(row) {
  return row.alias_of != null ? 0 : row.nbytes ?? row.stored_bytes;
}

/* Each node knows which run of `order` is its own, so that to ask whether a row is in it costs nothing. */
function treeOf(rows) {
  const root = { name: "", parent: null, children: new Map(), bytes: 0, tensors: 0, roles: {}, row: null };
  rows.forEach((row, at) => {
    const bytes = bytesOf(row);
    const steps = [...(row.section ? [row.section] : []), ...(row.name.match(STEPS) ?? [row.name])];
    let node = root;
    for (let step = -1; step < steps.length; step++) {
      if (step >= 0) {
        let child = node.children.get(steps[step]);
        if (!child) node.children.set(steps[step], (child = { name: steps[step], parent: node, children: new Map(), bytes: 0, tensors: 0, roles: {}, row: null }));
        node = child;
      }
      node.bytes += bytes;
      node.tensors += 1;
      node.roles[row.role] = (node.roles[row.role] ?? 0) + bytes;
    }
    node.row = at;
  });
  return root;
}
/* A module with nothing in it but one other is one step with it. */
function merged(node) {
  let label = node.name;
  while (node.children.size === 1 && node.row === null) {
    node = node.children.values().next().value;
    label = joined(label, node.name);
  }
  return { node, label };
}
const joined = (start, end) => (start && !end.startsWith("[") ? `${start}.${end}` : start + end);
function pathOf(node) {
  const steps = [];
  for (; node.parent; node = node.parent) steps.unshift(node.name);
  return steps.reduce(joined, "");
}
const childrenOf = (node) => [...node.children.values()].map(merged).filter((each) => each.node.bytes).sort((a, b) => b.node.bytes - a.node.bytes || (counting(a.label) < counting(b.label) ? -1 : 1));

/* Squarified: rows of rectangles, each row as long as its rectangles stay closest to squares. */
function laidOut(items, x, y, width, height) {
  const whole = items.reduce((sum, item) => sum + item.bytes, 0), placed = [];
  if (!whole || width <= 0 || height <= 0) return placed;
  const scale = (width * height) / whole;
  let start = 0;
  while (start < items.length) {
    const short = Math.min(width, height);
    let sum = 0, end = start, worst = Infinity;
    while (end < items.length) {
      const next = sum + items[end].bytes * scale, side = next / short;
      const most = Math.max(side / ((items[start].bytes * scale) / side), (items[end].bytes * scale) / side / side);
      if (most > worst) break;
      [sum, worst] = [next, most];
      end++;
    }
    const side = sum / short;
    let at = 0;
    for (let index = start; index < end; index++) {
      const length = (items[index].bytes * scale) / side;
      placed.push(width <= height ? { item: items[index], x: x + at, y, width: length, height: side } : { item: items[index], x, y: y + at, width: side, height: length });
      at += length;
    }
    if (width <= height) { y += side; height -= side; } else { x += side; width -= side; }
    start = end;
  }
  return placed;
}

class Treemap {
  constructor(section, root, choose) {
    Object.assign(this, { root, choose, node: root });
    this.svg = section.querySelector("figure svg");
    this.caption = section.querySelector("figcaption");
    this.crumbs = section.querySelector("nav");
    this.body = section.querySelector("tbody");
    this.says = this.caption.textContent;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => (this.caption.textContent = this.says));
    this.svg.addEventListener("click", (event) => {
      const top = event.target.closest("g[data-top]");
      if (top) this.enter(this.nodes[top.dataset.top]);
    });
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.list();
  }
  enter(node) {
    this.node = node;
    this.draw();
    this.list();
    this.choose(node);
  }
  point(event) {
    const at = event.target.dataset?.node;
    const node = at === undefined ? null : this.nodes[at];
    this.caption.textContent = node ? `${shown(pathOf(node))}: ${size(node.bytes)}, ${share(node.bytes, this.root.bytes)}, ${plural(node.tensors, "tensor")}` : this.says;
  }
  draw() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.nodes = [];
    this.drawn = [];
    const tops = this.node.children.size ? childrenOf(this.node) : [{ node: this.node, label: this.node.name }];
    for (const box of laidOut(tops.map((each) => ({ ...each, bytes: each.node.bytes })), 0, 0, width, height)) {
      const group = element("svg:g", { "data-top": this.nodes.length });
      this.drawn.push(group);
      this.fill(group, box.item, box);
    }
    this.svg.replaceChildren(...this.drawn);
  }
  rectangle(group, node, box, kind) {
    this.nodes.push(node);
    group.append(element("svg:rect", { class: kind, x: box.x.toFixed(1), y: box.y.toFixed(1), width: Math.max(box.width, 0.3).toFixed(1), height: Math.max(box.height, 0.3).toFixed(1), "data-node": this.nodes.length - 1 }));
  }
  text(group, label, box, kind) {
    const fits = Math.floor((box.width - 8) / 6.7), whole = shown(label);
    if (fits < 3 || box.height < 14) return;
    const text = whole.length > fits ? `${whole.slice(0, fits - 1)}…` : whole;
    group.append(element("svg:text", { class: kind, x: (box.x + 4).toFixed(1), y: (box.y + 12).toFixed(1) }, text));
  }
  fill(group, { node, label }, box) {
    if (!node.children.size || box.width < 12 || box.height < 10 || box.width * box.height < 220 || this.nodes.length > MOST_RECTANGLES) {
      const kinds = Object.entries(node.roles).filter(([, bytes]) => bytes).map(([role, bytes]) => ({ role, bytes }));
      kinds.sort((a, b) => b.bytes - a.bytes);
      for (const slice of laidOut(kinds, box.x, box.y, box.width, box.height)) this.rectangle(group, node, slice, `role ${slice.item.role}`);
      this.text(group, label, box);
      return;
    }
    this.rectangle(group, node, box, "group");
    const headed = box.width > 46 && box.height > 2 * HEADING;
    if (headed) this.text(group, label, box, "heading");
    const edge = box.width > 30 && box.height > 24 ? 2 : 1, top = headed ? HEADING : edge;
    const inner = childrenOf(node).map((each) => ({ ...each, bytes: each.node.bytes }));
    for (const each of laidOut(inner, box.x + edge, box.y + top, box.width - 2 * edge, box.height - top - edge)) this.fill(group, each.item, each);
  }
  /* The modules inside, and those inside the largest of them as long as they are few. */
  inside() {
    const listed = childrenOf(this.node).map((each) => ({ ...each, depth: 0 }));
    for (;;) {
      const at = listed.reduce((best, each, index) => (each.node.children.size && !each.opened && (best < 0 || each.node.bytes > listed[best].node.bytes) ? index : best), -1);
      if (at < 0 || listed.length + listed[at].node.children.size > FEW_MODULES) return listed;
      listed[at].opened = true;
      listed.splice(at + 1, 0, ...childrenOf(listed[at].node).map((each) => ({ ...each, depth: listed[at].depth + 1 })));
    }
  }
  list() {
    const children = this.inside(), most = children[0]?.node.bytes ?? 1;
    this.body.replaceChildren(...children.slice(0, MOST_MODULES).map(({ node, label, depth }) => {
      const bar = element("svg:svg", { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true", width: `${Math.max(1, (100 * node.bytes) / most)}%` });
      let start = 0;
      for (const [role, bytes] of Object.entries(node.roles)) {
        const width = (1000 * bytes) / node.bytes;
        bar.append(element("svg:rect", { class: `role ${role}`, x: start, y: 0, width, height: 10 }));
        start += width;
      }
      const button = element("button", { type: "button", title: shown(pathOf(node)), click: () => this.enter(node) }, shown(label));
      const name = element("th", { scope: "row", class: "name" }, button, bar);
      name.style.setProperty("--depth", depth);
      return element("tr", {}, name, ...[count(node.tensors), size(node.bytes), share(node.bytes, this.root.bytes)].map((text) => element("td", { class: "number" }, text)));
    }));
    if (children.length > MOST_MODULES) this.body.append(element("tr", {}, element("td", { colspan: 4 }, `and ${count(children.length - MOST_MODULES)} more`)));
    const steps = [];
    for (let node = this.node; node; node = node.parent) steps.unshift(node);
    this.crumbs.replaceChildren(...steps.flatMap((node, at) => {
      const label = at ? shown(node.name) : "all";
      const step = at === steps.length - 1 ? element("span", { "aria-current": "true" }, label) : element("button", { type: "button", click: () => this.enter(node) }, label);
      return at ? ["›", step] : [step];
    }));
  }
}
function share(bytes, whole) {
  const percent = whole ? (100 * bytes) / whole : 0;
  return percent && percent < 0.1 ? "<0.1 %" : `${percent.toFixed(1)} %`;
}
