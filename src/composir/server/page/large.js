// A picture as large as it can be, with all that is known of it.

import { $, fill, h, icon, iconButton } from "./dom.js";
import { marksOf, nameOf } from "./card.js";
import { DEEDS } from "./deeds.js";
import { largeOf, picture, setSource } from "./pictures.js";
import { whyBars } from "./why.js";

/** The dialog. */
export class Large {
  #id = null;
  #column = null;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.dialog = $("large");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.close());
    this.dialog.addEventListener("close", () => this.#closed());
  }

  /** The id that is shown, null while the dialog is closed. */
  get id() {
    return this.dialog.open ? this.#id : null;
  }

  /** The column that it was opened from. */
  get column() {
    return this.#column;
  }

  /** Show a picture; a hit of the column, or any other. */
  open(id, column) {
    this.#column = column;
    this.#show(id);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".stage").focus();
  }

  /** Put it away. */
  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /** Show the hit that is so many places further. */
  step(count) {
    const shown = this.#column?.shown ?? [];
    const at = shown.findIndex((hit) => hit.id === this.#id);
    const next = shown[at + count];
    if (at >= 0 && next) this.#show(next.id);
  }

  /** Draw again, with the marks as they are now. */
  refresh() {
    if (this.dialog.open) this.#show(this.#id);
  }

  #closed() {
    if (this.#column?.hits.length && document.activeElement?.closest("dialog") === null) this.#column.grid.focus(this.#id);
  }

  #show(id) {
    const focused = this.dialog.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
    const hit = this.app.columns.hit(id, this.#column);
    const image = picture(id, 256, hit ? nameOf(hit) : "The picture");
    const full = new Image();
    full.addEventListener("load", () => (image.src = full.src));
    setSource(full, largeOf(id));
    this.#id = id;
    const stage = h("div", { class: "stage", tabindex: "-1" }, image);
    const old = this.dialog.querySelector(".stage img");
    if (old?.dataset.picture === id) stage.replaceChildren(old);
    fill(this.dialog, stage, this.#side(id, hit));
    if (focused) this.dialog.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  #side(id, hit) {
    const position = hit?.rank && `Rank ${hit.rank}`;
    return h(
      "div",
      { class: "side" },
      h(
        "div",
        { class: "side-head" },
        h("p", { class: "rank-large" }, position || (hit?.alike ? `Like rank ${hit.alike}` : "Picture")),
        hit && iconButton("left", "The one before (←)", () => this.step(-1), { dataset: { act: "before" } }),
        hit && iconButton("rightward", "The next one (→)", () => this.step(1), { dataset: { act: "next" } }),
        iconButton("close", "Close (Escape)", () => this.close(), { dataset: { act: "close" } }),
      ),
      hit && h("p", { class: "marks" }, marksOf(hit, this.#column.marks).map(({ kind, text }) => h("span", { class: `mark mark-${kind}` }, text))),
      hit?.path && h("p", { class: "path" }, hit.path),
      whyBars(hit?.why),
      this.#acts(id),
      facts(id, hit),
    );
  }

  #acts(id) {
    const { deeds, judge, session } = this.app;
    const { query } = this.#column.spec;
    const { keep, avoid } = session.query;
    const pressed = { keep, avoid, ...judge.of(query) };
    const act = ({ name, short }) =>
      h(
        "button",
        {
          type: "button",
          class: name === "reference" ? "button primary" : "button",
          dataset: { act: name },
          "aria-pressed": name in pressed ? String(new Set(pressed[name]).has(id)) : null,
          onclick: () => deeds[name](id, this.#column),
        },
        icon(name),
        short,
      );
    const judged = ({ name }) => name === "right" || name === "wrong";
    return h("div", { class: "large-acts" }, DEEDS.filter((deed) => !judged(deed) || judge.can(query)).map(act));
  }
}

function facts(id, hit) {
  const rows = [hit?.score !== undefined && ["score", hit.score.toFixed(4)], ...Object.entries(hit?.metadata ?? {}), ["id", id]];
  return h(
    "dl",
    { class: "facts" },
    rows.filter(Boolean).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value === null ? "–" : String(value))]),
  );
}
