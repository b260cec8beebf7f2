// The trail as it is drawn: cards from left to right, a branch in a row of its own.

import { $, fill, h, icon, iconButton, show } from "./dom.js";
import { picture } from "./pictures.js";
import { spoken } from "./query.js";
import { layout, pathTo } from "./trail.js";

/** The strip of steps above the results. */
export class TrailView {
  #drawn = "";

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    app.store.subscribe((state) => {
      const drawn = signature(state);
      if (drawn !== this.#drawn) this.#draw(state);
      this.#drawn = drawn;
    });
  }

  #draw({ trail, view }) {
    show($("trail"), trail.steps.length > 0);
    if (!trail.steps.length) return fill($("trail"), null);
    const focused = document.activeElement?.closest?.("[data-step]")?.dataset.step;
    const way = new Set(pathTo(trail, trail.current));
    const cards = layout(trail).map((place) => this.#card(place, trail, view, way));
    const box = h("div", { class: "steps", onscroll: () => fade(box) }, h("ol", { class: "tree" }, cards));
    fill($("trail"), this.#head(trail), box);
    if (focused !== undefined) $("trail").querySelector(`[data-step="${focused}"]`)?.focus();
    reveal(box, box.querySelector(".current"));
    fade(box);
  }

  #head(trail) {
    const { session } = this.app;
    return h(
      "div",
      { class: "trail-head" },
      h("h2", { class: "unseen" }, "Trail"),
      iconButton("undo", "Undo: one step back (U)", () => session.undo(), { id: "undo", disabled: trail.current === null }),
      iconButton("add", "Begin another search", () => session.startAnew(), { id: "start-anew", disabled: trail.current === null }),
    );
  }

  #card({ step, column, row, from }, trail, view, way) {
    const { session } = this.app;
    const current = step.id === trail.current;
    const kind = ["step", current && "current", way.has(step.id) && "on-way", current && trail.open && "open", view.compare === step.id && "compared"];
    const card = h(
      "li",
      { class: kind.filter(Boolean).join(" ") },
      h(
        "button",
        {
          type: "button",
          class: "step-button",
          dataset: { step: step.id },
          "aria-current": current ? "step" : null,
          "aria-label": `Step ${column + 1}: ${described(step.query)}`,
          onclick: () => session.goTo(step.id),
        },
        step.query.reference ? picture(step.query.reference, 128) : h("span", { class: "no-picture" }, icon("words")),
        h(
          "span",
          { class: "step-text" },
          h("span", { class: "step-words" }, step.query.text || h("i", {}, "alike")),
          h("span", { class: "extras", "aria-hidden": "true" }, extras(step.query)),
        ),
      ),
      !current && this.#compare(step, view),
    );
    place(card, column, row, from);
    return card;
  }

  #compare(step, view) {
    const on = view.compare === step.id;
    const label = on ? "Stop comparing" : "Compare with the current step";
    return iconButton("beside", label, () => this.app.session.setCompare(on ? null : step.id), {
      class: "icon-button compare",
      "aria-pressed": String(on),
    });
  }
}

/** What of a state is seen in the trail: a moving slider is not. */
function signature({ trail, view }) {
  const steps = trail.steps.map(({ id, parent, query }) => [id, parent, query.reference, described(query)]);
  return JSON.stringify([steps, trail.current, trail.open, view.compare]);
}

/** A step with all that belongs to it, for readers. */
function described(query) {
  const more = [
    query.without.length && `without ${query.without.join(", ")}`,
    query.keep.length && `keeping the look of ${query.keep.length}`,
    query.avoid.length && `avoiding the look of ${query.avoid.length}`,
    query.reverse && "reversed",
    (query.filters.length || query.where) && "filtered",
  ];
  return [spoken(query), ...more.filter(Boolean)].join(", ");
}

/** What a step has beside picture and words, as short as can be. */
function extras(query) {
  const told = [
    query.without.map((words) => `− ${words}`).join(" "),
    query.keep.length ? `♥ ${query.keep.length}` : "",
    query.avoid.length ? `⊘ ${query.avoid.length}` : "",
    query.reverse ? "⇄" : "",
    query.filters.length || query.where ? "filtered" : "",
  ];
  return told.filter(Boolean).join("  ");
}

function place(card, column, row, from) {
  card.style.gridColumn = column + 1;
  card.style.gridRow = row + 1;
  if (column === 0) card.classList.add("first");
  // A branch hangs from its parent's row, however many rows above.
  card.style.setProperty("--rise", from === null ? 0 : row - from);
  if (from !== null && from !== row) card.classList.add("branch");
}

/** Steps that are scrolled out to the left fade instead of being cut. */
function fade(box) {
  box.classList.toggle("cut", box.scrollLeft > 8);
}

/** Scroll a box, and nothing else, until the element is in sight. */
function reveal(box, element) {
  if (!element) return;
  const [outer, inner] = [box.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 24;
  if (inner.left < outer.left) box.scrollLeft += inner.left - outer.left - 24;
  if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + 12;
}
