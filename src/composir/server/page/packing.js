// One query with short names, for an address; what comes back is checked, for anyone can write a link.

import { EMPTY, MOST_PICTURES, MOST_WITHOUT, MOST_WORDS } from "./query.js";

/** Whether this is the id of a picture. */
export const isId = (value) => typeof value === "string" && /^[0-9a-f]{32}$/.test(value);

/**
 * @param {import("./query.js").Query} query
 * @param {function(string): number} number  the place of an id in the link's list of ids
 */
export function writeQuery(query, number) {
  const { truth } = query;
  const packed = {
    r: query.reference === null ? undefined : number(query.reference),
    t: query.text || undefined,
    a: query.alpha ?? undefined,
    w: Object.keys(query.weights).length ? query.weights : undefined,
    n: some(query.without),
    k: some(query.keep.map(number)),
    x: some(query.avoid.map(number)),
    b: query.reverse ? 1 : undefined,
    f: some(query.filters.map(({ column, op, values }) => [column, op, ...values])),
    s: query.where || undefined,
    q: truth ? [truth.index, truth.query, truth.targets.map(number), truth.subset.map(number)] : undefined,
  };
  return Object.fromEntries(Object.entries(packed).filter(([, value]) => value !== undefined));
}

/**
 * @param {Object} packed
 * @param {string[]} ids
 * @returns {import("./query.js").Query}
 * @throws {TypeError}  not what `writeQuery` gives
 */
export function readQuery(packed, ids) {
  const id = (place) => check(ids[place] !== undefined, ids[place]);
  const several = (places, most) => list(places, most).map(id);
  return {
    ...EMPTY,
    reference: packed.r === undefined ? null : id(packed.r),
    text: words(packed.t ?? "", MOST_WORDS),
    alpha: packed.a === undefined ? null : within(packed.a, 0, 1),
    weights: weights(packed.w ?? {}),
    without: list(packed.n, MOST_WITHOUT).map((text) => words(text, MOST_WORDS)),
    keep: several(packed.k, MOST_PICTURES),
    avoid: several(packed.x, MOST_PICTURES),
    reverse: Boolean(packed.b),
    filters: list(packed.f, 32).map(filter),
    where: words(packed.s ?? "", 2000),
    truth: packed.q === undefined ? null : truth(packed.q, several),
  };
}

function truth([index, query, targets, subset], several) {
  check(Number.isSafeInteger(index) && index >= 0);
  return { index, query: words(query, 200), targets: several(targets, 64), subset: several(subset, 64) };
}

function filter([column, op, ...values]) {
  return { column: words(column, 200), op: words(op, 20), values: list(values, 2).map((value) => words(value, 500)) };
}

function weights(given) {
  const read = Object.entries(given).map(([name, value]) => {
    check(/^[a-z_]{1,32}$/.test(name));
    return [name, within(value, -10, 10)];
  });
  return Object.fromEntries(read);
}

const some = (values) => (values.length ? values : undefined);
const words = (value, most) => check(typeof value === "string" && value.length <= most, value);
const within = (value, low, high) => check(Number.isFinite(value) && value >= low && value <= high, value);
const list = (value, most) => check(value === undefined || (Array.isArray(value) && value.length <= most), value ?? []);

function check(holds, value) {
  if (!holds) throw new TypeError("not as expected");
  return value;
}
