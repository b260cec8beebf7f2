"use strict";
// Sorting: a column's name is a button, so keys work as the pointer does.
for (const table of document.querySelectorAll(".board")) {
  const heads = [...table.querySelectorAll("[data-sort]")];
  heads.forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const text = head.dataset.sort === "text";
      const first = text ? "ascending" : "descending";
      const other = text ? "descending" : "ascending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way);
      const value = (row) => row.children[column].dataset.value;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [one, two] = [value(a), value(b)];
        if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
        const order = text ? one.localeCompare(two) : one - two;
        return way === "ascending" ? order : -order;
      });
      table.tBodies[0].append(...rows);
    }),
  );
}
// One method at a time: pointing at it anywhere lets the others fade in the section's charts.
for (const section of document.querySelectorAll("section")) {
  const light = (series) => {
    section.classList.toggle("dimmed", series !== undefined);
    for (const each of section.querySelectorAll("[data-series]"))
      each.classList.toggle("lit", each.dataset.series === series);
  };
  section.addEventListener("pointerover", (event) => {
    const found = event.target.closest("[data-series]");
    light(found?.dataset.series);
  });
  section.addEventListener("pointerleave", () => light(undefined));
}
// On paper nothing can be unfolded: what a number needs, and what was asked for, is there.
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll(".protocol, .more")) each.open = true;
});
