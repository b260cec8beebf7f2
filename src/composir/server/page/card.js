// One hit in the grid.

import { DEEDS } from "./deeds.js";
import { fill, h, iconButton } from "./dom.js";
import { picture } from "./pictures.js";
import { whyBars } from "./why.js";

/**
 * What other parts of the page know of pictures.
 * @typedef {Object} Marks
 * @property {Set<string>} targets
 * @property {Set<string>} keep
 * @property {Set<string>} avoid
 * @property {Set<string>} right
 * @property {Set<string>} wrong
 * @property {Map<string, number>} shared  rank in the other column
 * @property {boolean} judging
 * @property {string|null} reference
 */

/** The last part of a path. */
export const nameOf = (hit) => hit.path.split("/").at(-1) || "a picture";

/**
 * Make the card of a hit; `updateCard` fills in what changes.
 * @param {Object} hit
 * @param {import("./deeds.js").Deeds} deeds
 */
export function makeCard(hit, deeds) {
  const shot = h("button", { type: "button", class: "shot", tabindex: "-1", onclick: () => deeds.open(hit.id) }, picture(hit.id, 256));
  const card = h(
    "li",
    { class: hit.alike ? "card alike-card" : "card", dataset: { id: hit.id } },
    h("div", { class: "frame" }, shot, h("div", { class: "marks" }), acts(hit, deeds)),
    h("div", { class: "caption" }),
    h("div", { class: "reasons" }),
  );
  return card;
}

/**
 * Show rank, reasons and marks as they are now.
 * @param {HTMLElement} card
 * @param {Object} hit
 * @param {Marks} marks
 * @param {import("./deeds.js").Deeds} deeds
 */
export function updateCard(card, hit, marks, deeds) {
  const told = marksOf(hit, marks);
  card.querySelector(".shot").setAttribute("aria-label", spokenName(hit, told));
  fill(card.querySelector(".marks"), told.map(({ kind, text }) => h("span", { class: `mark mark-${kind}` }, text)));
  for (const kind of ["target", "right", "wrong", "shared"]) {
    card.classList.toggle(`is-${kind}`, told.some((mark) => mark.kind === kind));
  }
  const line = h("div", { class: "caption" }, caption(hit, deeds, card.querySelector(".shot").tabIndex));
  const drawn = card.querySelector(".caption");
  if (!drawn.isEqualNode(line)) drawn.replaceWith(line); // one that says the same may have the focus
  fill(card.querySelector(".reasons"), whyBars(hit.why));
  for (const side of ["keep", "avoid", "right", "wrong"]) {
    const button = card.querySelector(`[data-act="${side}"]`);
    button.setAttribute("aria-pressed", String(marks[side].has(hit.id)));
    if (side === "right" || side === "wrong") button.hidden = !marks.judging;
  }
}

/** What is to be said of a picture beside its rank, the most important first. */
export function marksOf(hit, marks) {
  const told = [];
  const tell = (kind, text) => told.push({ kind, text });
  if (marks.targets.has(hit.id)) tell("target", "Target");
  else if (!hit.unfolded && hit.folded?.some((id) => marks.targets.has(id))) tell("target", "Target behind it");
  if (marks.right.has(hit.id)) tell("right", "Right");
  if (marks.wrong.has(hit.id)) tell("wrong", "Wrong");
  if (marks.keep.has(hit.id)) tell("keep", "Keep");
  if (marks.avoid.has(hit.id)) tell("avoid", "Avoid");
  if (marks.reference === hit.id) tell("reference", "Reference");
  if (marks.shared.has(hit.id)) tell("shared", `#${marks.shared.get(hit.id)} beside`);
  return told;
}

function spokenName(hit, told) {
  const place = hit.alike ? `like number ${hit.alike}` : `${hit.rank}`;
  return [`${place}: ${nameOf(hit)}`, ...told.map(({ text }) => text)].join(", ");
}

function caption(hit, deeds, tabindex) {
  if (hit.alike) return [h("span", { class: "name" }, `alike no. ${hit.alike}`)];
  const count = hit.folded?.length ?? 0;
  const more = `+${count} alike`;
  return [
    h("b", { class: "rank" }, String(hit.rank)),
    h("span", { class: "name", title: hit.path }, nameOf(hit)),
    count > 0 &&
      h(
        "button",
        { type: "button", class: "link unfold", tabindex, "aria-expanded": String(Boolean(hit.unfolded)), onclick: () => deeds.unfold(hit.id) },
        hit.unfolded ? "fold" : more,
      ),
  ];
}

function acts(hit, deeds) {
  const act = ({ name, key, label }) =>
    iconButton(name, `${label} (${key.toUpperCase()})`, () => deeds[name](hit.id), { tabindex: "-1", dataset: { act: name } });
  return h("div", { class: "acts" }, DEEDS.map(act));
}

/** A card's place while pictures are on their way. */
export function skeleton() {
  return h("li", { class: "card skeleton", "aria-hidden": "true" }, h("div", { class: "frame" }), h("div", { class: "caption" }), h("div", { class: "reasons" }));
}

