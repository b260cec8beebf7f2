// One column, or two side by side: two methods for one query, or two steps for one method.

import { fill, h, $ } from "./dom.js";
import { Column } from "./column.js";
import { queryOf, stepOf } from "./trail.js";
import { spoken } from "./query.js";

/** Keeps as many columns as the view wants. */
export class Columns {
  /** @type {Column[]} */
  all = [];

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    app.store.subscribe((state, _, how) => this.update(state, how.pace));
  }

  /** The hit of an id in the column where it was last looked at. */
  hit(id, column = this.main) {
    return [column, ...this.all].flatMap((each) => each?.shown ?? []).find((hit) => hit.id === id);
  }

  /** The column of the current step and the first method. */
  get main() {
    return this.all.at(-1) && this.app.store.state.view.compare !== null ? this.all.at(-1) : this.all[0];
  }

  /** The column that holds an element, or the main one. */
  of(element) {
    return this.all.find((column) => column.element.contains(element)) ?? this.main;
  }

  /** Draw what the state wants. */
  update(state, pace) {
    const specs = this.#specs(state);
    while (this.all.length > specs.length) this.all.pop().close();
    while (this.all.length < specs.length) this.#add();
    $("columns").classList.toggle("two", specs.length > 1);
    this.all.forEach((column, i) => {
      this.#dress(column, specs[i]);
      column.ask(specs[i], pace, () => (i ? null : this.app.welcome()));
    });
    this.mark();
  }

  /** Tell each column what is to be said of its pictures. */
  mark() {
    const { state } = this.app.store;
    this.all.forEach((column, i) => {
      const other = this.all[1 - i];
      const shared = new Map((this.all.length > 1 ? other.hits : []).map((hit) => [hit.id, hit.rank]));
      column.mark({ ...this.#marks(column.spec?.query ?? queryOf(state.trail)), shared });
    });
    this.#overlap();
    this.app.filters.refuse(this.main?.misread ?? null);
    this.app.truth?.draw();
    this.app.large.refresh();
  }

  /** Head a column; what stands there is left alone if it is the same, for it may have the focus. */
  #dress(column, { head, name }) {
    if (column.head.firstChild?.isEqualNode(head) !== true) fill(column.head, head);
    for (const select of column.head.querySelectorAll("select")) select.value = head.querySelector("select").value;
    column.element.setAttribute("aria-label", name);
  }

  #specs({ trail, view }) {
    const query = queryOf(trail);
    const [first, second] = [this.app.method(view.method), view.second && this.app.method(view.second)];
    const main = { query, method: first, fold: view.fold, order: view.order, name: "Results" };
    if (view.compare !== null && stepOf(trail, view.compare)) {
      const other = stepOf(trail, view.compare).query;
      return [
        { ...main, query: other, head: this.#stepHead(other, "Earlier step"), name: "Results of the other step" },
        { ...main, head: this.#stepHead(query, "Current step") },
      ];
    }
    if (!second) return [{ ...main, head: this.#methodHead(first, "method", "Method") }];
    return [
      { ...main, head: this.#methodHead(first, "method", "Method") },
      { ...main, method: second, head: this.#methodHead(second, "second", "Second method"), name: "Results of the second method" },
    ];
  }

  #methodHead(method, side, label) {
    const { methods, session } = this.app;
    const title = (each) => each.title || each.name;
    if (methods.length < 2) return h("p", { class: "method-name" }, title(method));
    const options = methods.map((each) => h("option", { value: each.name, selected: each === method }, title(each)));
    const choose = (event) => (side === "method" ? session.setMethod(event.target.value) : session.setSecond(event.target.value));
    return h("label", { class: "pick" }, h("span", { class: "unseen" }, label), h("select", { onchange: choose, dataset: { side } }, options));
  }

  #stepHead(query, label) {
    return h("p", { class: "method-name" }, h("span", { class: "small" }, label), " ", spoken(query));
  }

  #add() {
    const column = new Column(this.app.deeds, () => this.mark());
    this.all.push(column);
    $("columns").append(column.element);
  }

  #marks(query) {
    const verdicts = this.app.judge.of(query);
    return {
      targets: new Set(query.truth?.targets ?? []),
      keep: new Set(query.keep),
      avoid: new Set(query.avoid),
      reference: query.reference,
      right: verdicts.right,
      wrong: verdicts.wrong,
      judging: this.app.judge.can(query),
    };
  }

  #overlap() {
    const place = $("overlap");
    const [one, two] = this.all;
    if (!two) return fill(place, null);
    const count = Math.min(one.hits.length, two.hits.length);
    const ids = new Set(one.hits.slice(0, count).map(({ id }) => id));
    const both = two.hits.slice(0, count).filter(({ id }) => ids.has(id)).length;
    fill(place, count ? `${both} of the first ${count} are in both` : null);
  }
}
