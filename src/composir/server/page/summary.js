// How a column's hits are ordered, and what is said about them in words.

import { h } from "./dom.js";
import { isUnread } from "./where.js";

const ORDER_NAMES = { image: "the image", text: "the words" };

/**
 * Loaded hits by another similarity; those without it come last, equal ones by rank.
 * @param {Object[]} hits  by rank
 * @param {string} order   "composed", "image" or "text"
 */
export function ordered(hits, order) {
  if (order === "composed") return hits;
  const value = (hit) => hit.why?.[order] ?? -Infinity;
  return [...hits].sort((one, two) => value(two) - value(one) || one.rank - two.rank);
}

/** How many pictures were ranked and are shown, in which order, and where the targets stand. */
export function summary(answer, hits, { order, query }) {
  const parts = [h("span", {}, h("b", {}, counted(answer.total)), " ranked"), h("span", {}, `${hits.length.toLocaleString("en")} shown`)];
  if (order !== "composed") {
    const told = hits.some((hit) => order in (hit.why ?? {}));
    const why = `ordered by similarity to ${ORDER_NAMES[order]}, of those shown`;
    parts.push(h("span", { class: "note" }, told ? why : `the method tells no similarity to ${ORDER_NAMES[order]}`));
  }
  const ranks = (query.truth?.targets ?? []).map((id) => answer.target_ranks[id]).filter(Boolean);
  if (query.truth) parts.push(h("span", { class: "target-rank" }, targetRanks(ranks, query.truth.targets.length)));
  return parts;
}

/** "300 pictures" */
export const counted = (count) => `${count.toLocaleString("en")} ${count === 1 ? "picture" : "pictures"}`;

function targetRanks(ranks, wanted) {
  const word = wanted === 1 ? "Target" : "Targets";
  if (!ranks.length) return `${word} not ranked`;
  return `${word} at ${ranks.sort((a, b) => a - b).join(", ")}`;
}

/** What is to be known of these results beside their number. */
export function notes({ filters }, { unread = [] }, misread, begun) {
  const told = [
    unread.length > 0 && `Too many words: ${unread.map((end) => `“${end}”`).join(" and ")} ${unread.length > 1 ? "are" : "is"} not read.`,
    isUnread(filters) && "A number under Filters cannot be read and asks for nothing.",
    misread && "The filter cannot be read; these are the results before it.",
    begun && "The gallery was renewed meanwhile; these results begin anew.",
  ];
  return told.filter(Boolean).map((note) => h("span", { class: "note" }, note));
}
