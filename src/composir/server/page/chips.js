// What must not show, and pictures whose look is kept or avoided: chips in the panel.

import { $, fill, h, icon, show } from "./dom.js";
import { picture } from "./pictures.js";
import { rests } from "./request.js";
import { queryOf } from "./trail.js";
import { say } from "./toast.js";

/** The three lists of chips. */
export class Chips {
  #made = "[[],[],[]]";

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    $("add-without").addEventListener("click", () => this.#add());
    $("without").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#add();
    });
    app.store.subscribe((state) => this.#draw(queryOf(state.trail)));
  }

  #add() {
    const field = $("without");
    if (this.app.session.addWithout(field.value)) field.value = "";
    else say("There is no room for more; take one away first.");
    field.focus();
  }

  #draw(query) {
    const { without, keep, avoid } = query;
    const { session } = this.app;
    show($("resting"), rests(query));
    const made = JSON.stringify([without, keep, avoid]);
    if (made === this.#made) return;
    this.#made = made;
    fill(
      $("without-chips"),
      without.map((words) => chip(h("span", {}, words), `Show ${words} again`, () => session.removeWithout(words))),
    );
    show($("looks"), keep.length + avoid.length > 0);
    this.#pictures("keep", keep);
    this.#pictures("avoid", avoid);
  }

  #pictures(side, ids) {
    const { session } = this.app;
    show($(`${side}-group`), ids.length > 0);
    const label = side === "keep" ? "No longer keep this look" : "No longer avoid this look";
    fill($(`${side}-chips`), ids.map((id) => chip(picture(id, 128), label, () => session.toggle(side, id))));
  }
}

function chip(content, label, remove) {
  return h("li", {}, h("button", { type: "button", class: "chip", title: label, onclick: remove }, content, h("span", { class: "unseen" }, label), icon("close")));
}
