// Why a picture was found: how similar it is to the reference, to the words, and to both composed.

import { h } from "./dom.js";

const PARTS = [
  { name: "image", label: "image", told: "Similarity to the picture" },
  { name: "text", label: "words", told: "Similarity to the words" },
  { name: "composed", label: "both", told: "Similarity to picture and words, composed" },
];

/**
 * Bars for what the method tells; null if it tells nothing.
 * @param {Object<string, number>} why  cosines
 */
export function whyBars(why) {
  const told = PARTS.filter(({ name }) => Number.isFinite(why?.[name]));
  if (!told.length) return null;
  return h("ul", { class: "why", "aria-label": "Why it was found" }, told.map((part) => bar(part, why[part.name])));
}

/** A similarity as it is shown: .71, −.05, 1.0 */
export function brief(value) {
  const text = Math.abs(value).toFixed(2);
  const short = text.startsWith("0") ? text.slice(1) : text.slice(0, 3);
  return value < 0 && short !== ".00" ? `−${short}` : short;
}

function bar({ name, label, told }, value) {
  const line = h("span", { class: "line", "aria-hidden": "true" });
  line.style.setProperty("--share", Math.min(1, Math.max(0, value)));
  const title = `${told}: ${value.toFixed(3)} of at most 1`;
  return h(
    "li",
    { class: `why-${name}`, title, "aria-label": title, role: "listitem" },
    line,
    h("span", { class: "why-label", "aria-hidden": "true" }, label, " ", h("b", {}, brief(value))),
  );
}
