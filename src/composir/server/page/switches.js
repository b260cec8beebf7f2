// Switches of the panel and of the bar above the results.

import { $, show } from "./dom.js";
import { ORDERS } from "./codec.js";
import { queryOf } from "./trail.js";

/** Reverse, folding, order, and the second method. */
export class Switches {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    const { session } = app;
    $("reverse").addEventListener("change", (event) => session.setReverse(event.target.checked));
    $("fold").addEventListener("change", (event) => session.setFold(event.target.checked));
    $("second").addEventListener("click", () => this.second());
    $("more-controls").addEventListener("click", () => this.#unfold());
    for (const button of this.#orders()) button.addEventListener("click", () => session.setOrder(button.dataset.order));
    app.store.subscribe((state) => this.#draw(state));
  }

  /** The next order of the results. */
  turnOrder() {
    const { order } = this.app.store.state.view;
    this.app.session.setOrder(ORDERS[(ORDERS.indexOf(order) + 1) % ORDERS.length]);
  }

  /** A second method beside the first, or one again; false if there is no other. */
  second() {
    const { methods, session, store } = this.app;
    const { view } = store.state;
    if (view.compare !== null) return session.setCompare(null), true;
    if (view.second) return session.setSecond(null), true;
    const first = this.app.method(view.method);
    const other = methods.find((method) => method !== first);
    if (other) session.setSecond(other.name);
    return Boolean(other);
  }

  #orders() {
    return $("order").querySelectorAll("button");
  }

  #unfold() {
    const open = $("panel").classList.toggle("unfolded");
    $("more-controls").setAttribute("aria-expanded", String(open));
    $("more-controls").textContent = open ? "Fewer ways to steer" : "More ways to steer";
  }

  #draw({ trail, view }) {
    const beside = view.second !== null || view.compare !== null;
    $("reverse").checked = queryOf(trail).reverse;
    $("fold").checked = view.fold;
    for (const button of this.#orders()) button.setAttribute("aria-pressed", String(button.dataset.order === view.order));
    show($("second"), this.app.methods.length > 1 || beside);
    $("second").setAttribute("aria-pressed", String(beside));
    $("second").querySelector("span").textContent = view.compare === null ? "Side by side" : "Stop comparing";
    show($("bar"), trail.current !== null);
  }
}
