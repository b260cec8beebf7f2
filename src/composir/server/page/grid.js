// The cards of a column: kept by id, so that a new order moves them instead of drawing them anew.

import { makeCard, skeleton, updateCard } from "./card.js";

const MOVES = { duration: 260, easing: "cubic-bezier(.2, .7, .2, 1)" };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A list of cards with one tab stop. */
export class Grid {
  #cards = new Map();

  /**
   * @param {HTMLElement} list
   * @param {import("./deeds.js").Deeds} deeds
   */
  constructor(list, deeds) {
    this.list = list;
    this.deeds = deeds;
    list.addEventListener("focusin", (event) => this.#enter(event.target.closest(".card")));
    list.addEventListener("dragstart", carry);
  }

  /** Show these hits in this order. */
  show(hits, marks) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const own = focused?.closest(".card");
    const before = this.#places();
    const wanted = hits.map((hit) => this.#card(hit));
    this.#cards = new Map(wanted.map((card) => [card.dataset.id, card]));
    wanted.forEach((card, i) => this.list.children[i] !== card && this.list.insertBefore(card, this.list.children[i] ?? null));
    while (this.list.children.length > wanted.length) this.list.lastElementChild.remove();
    this.mark(hits, marks);
    this.#keepStop(focused, own);
    this.#slide(before);
  }

  /** Show what is to be said of the pictures, in the order they have. */
  mark(hits, marks) {
    for (const hit of hits) {
      const card = this.#cards.get(hit.id);
      if (card) updateCard(card, hit, marks, this.deeds);
    }
  }

  /** Show where pictures will be. */
  wait(count) {
    this.#cards.clear();
    this.list.replaceChildren(...Array.from({ length: count }, skeleton));
  }

  /** Show nothing. */
  clear() {
    this.wait(0);
  }

  /** How many cards stand in a row. */
  get columns() {
    return getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
  }

  /** Focus the card that is so many places further; the first one if none is focused. */
  step(count) {
    const cards = [...this.list.querySelectorAll(".card:not(.skeleton)")];
    if (!cards.length) return;
    const at = cards.indexOf(document.activeElement.closest(".card"));
    this.focus(cards[at < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, at + count))]);
  }

  /** Focus the card of an id, or a card. */
  focus(card) {
    const found = typeof card === "string" ? this.#cards.get(card) : card;
    found?.querySelector(".shot").focus();
    found?.scrollIntoView({ block: "nearest" });
  }

  #card(hit) {
    const known = this.#cards.get(hit.id);
    return known && known.classList.contains("alike-card") === Boolean(hit.alike) ? known : makeCard(hit, this.deeds);
  }

  /** Let the Tab key reach one card and what can be done with it. */
  #enter(card) {
    for (const other of this.list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    for (const button of card?.querySelectorAll(".shot, .acts button, .unfold") ?? []) button.tabIndex = 0;
  }

  #keepStop(focused, own) {
    if (focused && !this.list.contains(focused)) this.focus(this.list.contains(own) ? own : this.list.firstElementChild);
    else if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
    else if (!this.list.querySelector('.shot[tabindex="0"]')) this.#enter(this.list.firstElementChild);
  }

  #places() {
    if (calm.matches || this.list.children.length > 120) return new Map();
    return new Map([...this.#cards].map(([id, card]) => [id, card.getBoundingClientRect()]));
  }

  /** Let cards that moved slide from where they were. */
  #slide(before) {
    for (const [id, card] of this.#cards) {
      const old = before.get(id);
      if (!old) continue;
      const now = card.getBoundingClientRect();
      const [x, y] = [old.left - now.left, old.top - now.top];
      const seen = Math.min(old.top, now.top) < innerHeight && Math.max(old.bottom, now.bottom) > 0;
      if (seen && (x || y)) card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], MOVES);
    }
  }
}

/** A dragged picture of ours tells its id, so that nothing is uploaded. */
function carry(event) {
  const id = event.target.closest(".card")?.dataset.id;
  if (id) event.dataTransfer?.setData(DRAGGED, id);
}

/** The type under which a dragged picture of ours carries its id. */
export const DRAGGED = "application/x-composir-id";
