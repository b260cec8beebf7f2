// The refinement trail: a tree of steps, each a query that came from its parent. All functions are pure.

import { EMPTY, isBarePicture, isBlank, sameQuery } from "./query.js";

/**
 * @typedef {Object} Step
 * @property {number} id
 * @property {number|null} parent  null for a beginning
 * @property {import("./query.js").Query} query
 *
 * @typedef {Object} Trail
 * @property {Step[]} steps    parents before children
 * @property {number|null} current  null before the first step
 * @property {boolean} open    whether the words of the current step are being typed
 * @property {import("./query.js").Query} draft  what is set while there is no step
 */

export const MOST_STEPS = 60;

/** @type {Trail} */
export const NO_TRAIL = Object.freeze({ steps: [], current: null, open: false, draft: EMPTY });

/** The step with that id, or undefined. */
export const stepOf = (trail, id) => trail.steps.find((step) => step.id === id);

/** The query that is shown. */
export const queryOf = (trail) => stepOf(trail, trail.current)?.query ?? trail.draft;

/** Steps that came from this one; of null: the beginnings. */
export const childrenOf = (trail, id) => trail.steps.filter((step) => step.parent === id);

/** Ids from the beginning to this step. */
export function pathTo(trail, id) {
  const step = stepOf(trail, id);
  return step ? [...pathTo(trail, step.parent), step.id] : [];
}

/** Take a step: the current query, changed, as a child of the current step. */
export function push(trail, change, parent = trail.current) {
  const query = { ...queryOf(trail), ...change };
  if (sameQuery(query, queryOf(trail)) && parent === trail.current) return trail;
  const id = Math.max(0, ...trail.steps.map((step) => step.id)) + 1;
  const steps = prune([...trail.steps, { id, parent, query }], id);
  return { ...trail, steps, current: id, open: false };
}

/** Change the current step itself where nothing came of it yet, else take a step; before the first step, the draft. */
export function tune(trail, change) {
  if (trail.current === null) return { ...trail, draft: { ...trail.draft, ...change } };
  if (childrenOf(trail, trail.current).length) return push(trail, change);
  return amend(trail, change);
}

/** What typing does: the first letter takes a step, further ones change its words. */
export function type(trail, text) {
  const query = queryOf(trail);
  if (text === query.text) return trail;
  if (trail.open) return amend(trail, { text });
  const begun = trail.current !== null && isBarePicture(query) && !childrenOf(trail, trail.current).length;
  return { ...(begun ? amend(trail, { text }) : push(trail, { text })), open: true };
}

/** The end of typing: a step with nothing in it, or nothing new, is taken back. */
export function settle(trail) {
  if (!trail.open) return trail;
  const step = stepOf(trail, trail.current);
  const trimmed = { ...step.query, text: step.query.text.trim() };
  const parent = stepOf(trail, step.parent);
  if (isBlank(trimmed) || (parent && sameQuery(parent.query, trimmed))) return remove(trail, step);
  return { ...amend(trail, trimmed), open: false };
}

/** Go to a step, or with null before the first. */
export function go(trail, id) {
  return { ...settle(trail), current: id, draft: EMPTY };
}

/**
 * Where each step is drawn: a step stands right of its parent, a branch in a row of its own; the last search on top.
 * @returns {{step: Step, column: number, row: number, from: number|null}[]}  `from` is the row of the parent
 */
export function layout(trail) {
  const places = [];
  let rows = 0;
  const place = (step, column, row, from) => {
    places.push({ step, column, row, from });
    childrenOf(trail, step.id).forEach((child, i) => place(child, column + 1, i ? rows++ : row, row));
  };
  for (const root of childrenOf(trail, null).reverse()) place(root, 0, rows++, null);
  return places;
}

function amend(trail, change) {
  const steps = trail.steps.map((step) =>
    step.id === trail.current ? { ...step, query: { ...step.query, ...change } } : step,
  );
  return { ...trail, steps };
}

function remove(trail, gone) {
  const steps = trail.steps.filter((step) => step !== gone);
  return { ...trail, steps, current: gone.parent, open: false };
}

/** Forget the oldest ends of other branches when there are too many steps for an address; never the way to `kept`. */
function prune(steps, kept) {
  let left = steps;
  while (left.length > MOST_STEPS) {
    const way = new Set(pathTo({ steps: left }, kept));
    const ends = left.filter((step) => !way.has(step.id) && !left.some((other) => other.parent === step.id));
    const oldest = ends[0] ?? left[0];
    const orphans = left.map((step) => (step.parent === oldest.id ? { ...step, parent: null } : step));
    left = orphans.filter((step) => step.id !== oldest.id);
  }
  return left;
}
