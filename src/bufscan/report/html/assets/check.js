/* Findings that are hidden unless they are what is searched for. */
const findings = [...document.querySelectorAll(".finding")];
const filters = document.querySelector(".filters");
if (filters) {
  const input = filters.querySelector("input"), output = filters.querySelector("output");
  let severities = new Set();
  const choose = () => {
    const terms = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let seen = 0;
    for (const each of findings) {
      const text = each.textContent.toLowerCase();
      each.hidden = !((!severities.size || severities.has(each.dataset.severity)) && terms.every((term) => text.includes(term)));
      seen += !each.hidden;
    }
    for (const target of document.querySelectorAll(".target")) {
      target.hidden = seen < findings.length && !target.querySelector(".finding:not([hidden])");
    }
    output.textContent = seen < findings.length ? `${count(seen)} of ${plural(findings.length, "finding")}` : "";
  };
  input.addEventListener("input", choose);
  toggles(filters.querySelectorAll("[data-severity]"), "severity", (chosen) => { severities = chosen; choose(); });
}
/* A link to a rule opens what it says. */
addEventListener("hashchange", () => {
  const rule = document.getElementById(location.hash.slice(1));
  if (rule?.localName === "details") rule.open = true;
});
