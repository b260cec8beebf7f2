// Filters over the gallery's columns, and a condition written by hand.

import { $, fill, h, iconButton, show } from "./dom.js";
import { queryOf } from "./trail.js";
import { sentence } from "./messages.js";
import { faultsOf, OPERATIONS, usable, whereOf } from "./where.js";

/** The rows of filters. */
export class Filters {
  #drawn = "";

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.columns = new Map(usable(app.gallery.columns));
    $("where").addEventListener("input", () => this.#set(this.#query.filters, $("where").value));
    this.#offer();
    app.store.subscribe((state) => this.#draw(queryOf(state.trail)));
  }

  /** Open or close them. */
  toggle() {
    const box = $("filters");
    box.open = !box.open;
    if (box.open) box.querySelector("select, input").focus();
  }

  /** Say what is wrong with them, null for nothing; the grammar and the columns, which stand below, are left out. */
  refuse(problem) {
    const told = problem ? problem.message.split("; ").filter((part) => !/^(a filter may hold|columns:) /.test(part)) : [];
    const place = $("filter-problem");
    place.textContent = problem ? sentence(told.join("; ")) : "";
    if (problem && place.hidden) requestAnimationFrame(() => $("filters").contains(document.activeElement) && place.scrollIntoView({ block: "nearest" }));
    show(place, problem !== null);
    $("where").setAttribute("aria-invalid", problem !== null);
  }

  get #query() {
    return this.app.session.query;
  }

  #set(filters, where, pace) {
    this.app.session.setFilters(filters, where, pace);
  }

  #offer() {
    const names = [...this.columns.keys()];
    show($("filter-adder"), names.length > 0);
    $("filter-told").textContent = names.length
      ? `Columns: ${Object.entries(this.app.gallery.columns).map(([name, type]) => `${name} (${type})`).join(", ")}`
      : "The gallery has no columns: put a table beside the pictures and index them again.";
    const select = h("select", { id: "filter-column", "aria-label": "Column to filter by" }, names.map((name) => h("option", { value: name }, name)));
    fill($("filter-adder"), select, h("button", { type: "button", class: "button", id: "add-filter", onclick: () => this.#add(select.value) }, "Add"));
  }

  #add(column) {
    const [{ op, values }] = OPERATIONS[this.columns.get(column)];
    this.#set([...this.#query.filters, { column, op, values: Array(values).fill("") }], this.#query.where, "now");
    const row = $("filter-rows").lastElementChild;
    (row.querySelector("input") ?? row.querySelector("select")).focus();
    row.scrollIntoView({ block: "nearest" });
  }

  #change(place, change, pace = "type") {
    const filters = this.#query.filters.map((filter, i) => (i === place ? { ...filter, ...change } : filter));
    this.#set(filters, this.#query.where, pace);
  }

  #draw({ filters, where }) {
    if ($("where").value !== where) $("where").value = where;
    // Rows are made anew only if their shape changes, so that a field keeps its focus while one types.
    const shape = JSON.stringify(filters.map(({ column, op }) => [column, op]));
    if (shape !== this.#drawn) fill($("filter-rows"), filters.map((filter, i) => this.#row(filter, i)));
    this.#drawn = shape;
    this.#values(filters);
    const count = filters.length + (where.trim() ? 1 : 0);
    show($("filter-count"), count > 0);
    $("filter-count").textContent = count;
    $("filter-count").title = whereOf(filters, where);
  }

  #values(filters) {
    filters.forEach((filter, i) => {
      const row = $("filter-rows").children[i];
      const faults = faultsOf(filter);
      row.querySelectorAll("input").forEach((field, n) => {
        if (field.value !== filter.values[n]) field.value = filter.values[n];
        field.setAttribute("aria-invalid", faults[n] !== "");
      });
      const told = [...new Set(faults)].join(" ").trim();
      const place = row.querySelector(".problem");
      if (place.textContent !== told) place.textContent = told;
      show(place, told !== "");
    });
  }

  #row({ column, op, values }, place) {
    const kind = this.columns.get(column) ?? "text";
    const choose = (event) => {
      const chosen = OPERATIONS[kind].find((each) => each.op === event.target.value);
      this.#change(place, { op: chosen.op, values: Array(chosen.values).fill("") }, "now");
    };
    const options = OPERATIONS[kind].map((each) => h("option", { value: each.op, selected: each.op === op }, each.label));
    return h(
      "div",
      { class: "filter", role: "group", "aria-label": `Filter by ${column}` },
      h("span", { class: "filter-name", title: column }, column),
      h("select", { "aria-label": `How to compare ${column}`, onchange: choose }, options),
      iconButton("close", `Remove the filter by ${column}`, () => this.#remove(place)),
      h("div", { class: "filter-values" }, values.map((_, n) => this.#field(column, kind, place, n))),
      h("p", { class: "problem", id: `filter-problem-${place}`, role: "status", hidden: true }),
    );
  }

  #field(column, kind, place, n) {
    const numeric = kind === "number";
    const ends = numeric && this.#query.filters[place].op === "range";
    const label = ends ? `${column}, ${n ? "at most" : "at least"}` : column;
    return h("input", {
      type: "text",
      inputmode: numeric ? "decimal" : "text",
      maxlength: 200,
      autocomplete: "off",
      placeholder: ends ? (n ? "at most" : "at least") : "",
      "aria-label": label,
      "aria-describedby": `filter-problem-${place}`,
      oninput: (event) => this.#typed(place, n, event.target.value),
    });
  }

  #typed(place, n, text) {
    const values = this.#query.filters[place].values.map((value, i) => (i === n ? text : value));
    this.#change(place, { values });
  }

  #remove(place) {
    this.#set(this.#query.filters.filter((_, i) => i !== place), this.#query.where, "now");
    $("add-filter").focus();
  }
}
