// The words: searched for while they are typed, and taken as a step with Enter.

import { $, show } from "./dom.js";
import { queryOf } from "./trail.js";
import { foreignScript } from "./writing.js";

/** The field of words and the notice beneath it. */
export class Words {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.field = $("words");
    this.field.addEventListener("input", () => this.#typed());
    this.field.addEventListener("change", () => app.session.settle());
    this.field.addEventListener("keydown", (event) => this.#entered(event));
    $("panel").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#mean();
    });
    app.store.subscribe((state) => this.#draw(queryOf(state.trail), state.trail.open));
  }

  /** Go to the field, with all its words marked so that typing takes their place. */
  focus() {
    this.field.focus();
    this.field.select();
  }

  /** Take words as if they were typed. */
  write(text) {
    this.field.value = text;
    this.#typed();
  }

  #typed() {
    this.app.session.type(this.field.value.replaceAll("\n", " "));
  }

  #entered(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    this.#mean();
  }

  #mean() {
    this.app.session.say(this.field.value.replaceAll("\n", " "));
  }

  #draw(query, open) {
    if (!open && this.field.value !== query.text) this.field.value = query.text;
    $("words-label").textContent = query.reference ? "… but" : "Words";
    const script = foreignScript(query.text);
    const { backbone } = this.app.gallery;
    show($("script-notice"), script !== null);
    $("script-notice").textContent = script
      ? `These words are in ${script} letters. ${backbone} may never have learned to read them: if the results ignore the words, try English.`
      : "";
  }
}
