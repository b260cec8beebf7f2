// From what is on the page to the body of POST /v1/search, and why a query cannot be asked yet.

import { isBlank } from "./query.js";
import { whereOf } from "./where.js";

export const PAGE = 24; // hits at a time
const MOST_TARGETS = 64;
const LOOKS = ["without", "keep", "avoid"];

/**
 * @param {import("./query.js").Query} query
 * @param {{name: string, controls: string[], default: boolean}} method
 * @param {boolean} fold
 */
export function bodyOf(query, method, fold) {
  const text = query.text.trim();
  const both = Boolean(query.reference && text);
  const body = { k: PAGE, text };
  if (query.reference) body.reference = { id: query.reference };
  if (!method.default) body.method = method.name;
  if (both) Object.assign(body, controlsOf(query, method));
  for (const name of LOOKS) if (query[name].length && !query.reverse) body[name] = query[name];
  const where = whereOf(query.filters, query.where);
  if (where) body.where = where;
  if (query.reverse) body.reverse = true;
  if (fold) body.fold = true;
  const targets = targetsOf(query);
  if (targets.length) body.targets = targets;
  return body;
}

/** Pictures whose ranks are asked for: targets first, then the subset without the reference. */
export function targetsOf({ truth, reference }) {
  if (!truth) return [];
  const wanted = [...truth.targets, ...truth.subset.filter((id) => id !== reference)];
  return [...new Set(wanted)].slice(0, MOST_TARGETS);
}

/** Whether something is set that reverse search cannot take; it rests meanwhile. */
export const rests = (query) => query.reverse && LOOKS.some((name) => query[name].length > 0);

/** The weight of a direction that was not moved: weights are given for all directions or for none. */
export const NEUTRAL = 1;

/** Directions that a method weighs, besides alpha. */
export const directionsOf = (method) => method.controls.filter((name) => name !== "alpha");

/**
 * Why this cannot be asked, for people; null if it can.
 * @returns {string|null}
 */
export function obstacle(query, method) {
  if (isBlank(query)) return "";
  const both = query.reference && query.text.trim();
  if (query.reverse && !both) {
    return query.reference
      ? "Reverse search asks which picture, changed as the words say, leads to this one. Say the words."
      : "Reverse search starts from the picture that shall come out. Give that picture.";
  }
  if (!query.reference && !method.words_alone) {
    return `The method ${method.title || method.name} cannot search by words alone. Give a picture too.`;
  }
  return null;
}

function controlsOf(query, method) {
  const given = {};
  if (query.alpha !== null && method.controls.includes("alpha")) given.alpha = query.alpha;
  const names = directionsOf(method);
  const moved = names.some((name) => name in query.weights);
  if (moved && !query.reverse) given.weights = Object.fromEntries(names.map((name) => [name, query.weights[name] ?? NEUTRAL]));
  return given;
}
