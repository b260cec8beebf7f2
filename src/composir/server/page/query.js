// What is asked for: a reference, words and controls. A plain value; it is never changed, only copied.

/**
 * @typedef {Object} Truth  a benchmark's right answers
 * @property {number} index  from 0, in the benchmark
 * @property {string} query  its id there
 * @property {string[]} targets
 * @property {string[]} subset
 *
 * @typedef {Object} Filter
 * @property {string} column
 * @property {string} op  of where.js
 * @property {string[]} values  as typed
 *
 * @typedef {Object} Query
 * @property {string|null} reference  an id
 * @property {string} text
 * @property {number|null} alpha  null = the method's default
 * @property {Object<string, number>} weights
 * @property {string[]} without
 * @property {string[]} keep
 * @property {string[]} avoid
 * @property {boolean} reverse
 * @property {Filter[]} filters
 * @property {string} where  a filter written by hand
 * @property {Truth|null} truth
 */

/** @type {Query} */
export const EMPTY = Object.freeze({
  reference: null,
  text: "",
  alpha: null,
  weights: {},
  without: [],
  keep: [],
  avoid: [],
  reverse: false,
  filters: [],
  where: "",
  truth: null,
});

export const MOST_WORDS = 1000;
export const MOST_WITHOUT = 8;
export const MOST_PICTURES = 32;

/** Whether there is nothing to search for. */
export const isBlank = (query) => !query.reference && !query.text.trim();

/** Whether two queries ask for the same. */
export const sameQuery = (one, two) => JSON.stringify(one) === JSON.stringify(two);

/** Whether a query is a picture and nothing else, so that the first words still belong to it. */
export function isBarePicture(query) {
  const { reference, text, without, keep, avoid } = query;
  return reference !== null && !text && !without.length && !keep.length && !avoid.length;
}

/** A query in words, for titles and readers. */
export function spoken(query) {
  const words = query.text.trim();
  if (query.reference) return words ? `this picture, but ${words}` : "this picture";
  return words || "nothing yet";
}
