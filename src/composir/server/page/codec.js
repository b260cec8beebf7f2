// The whole state as the part of an address after #, and back: JSON with short names in base64url.

import { EMPTY } from "./query.js";
import { NO_TRAIL } from "./trail.js";
import { MOST_STEPS } from "./trail.js";
import { isId, readQuery, writeQuery } from "./packing.js";

export const VERSION = 1;
export const ORDERS = ["composed", "image", "text"];

/**
 * @typedef {Object} View
 * @property {string|null} method   null = the server's own
 * @property {string|null} second   the method beside it
 * @property {number|null} compare  the step beside the current one
 * @property {string} order         one of ORDERS
 * @property {boolean} fold         hide near-duplicates
 *
 * @typedef {{trail: import("./trail.js").Trail, view: View}} State
 */

/** @type {View} */
export const PLAIN_VIEW = Object.freeze({ method: null, second: null, compare: null, order: "composed", fold: false });

/** @returns {State} */
export const emptyState = () => ({ trail: NO_TRAIL, view: PLAIN_VIEW });

/** A link that cannot be read; the message is for people. */
export class LinkError extends Error {}

/**
 * The state as text for an address; "" for the empty state.
 * @param {State} state
 */
export function encode({ trail, view }) {
  const ids = [];
  const number = (id) => (ids.includes(id) ? ids.indexOf(id) : ids.push(id) - 1);
  const packed = {
    v: VERSION,
    s: trail.steps.map((step) => [step.id, step.parent ?? 0, writeQuery(step.query, number)]),
    c: trail.current ?? 0,
  };
  const draft = trail.current === null ? writeQuery(trail.draft, number) : {};
  if (Object.keys(draft).length) packed.d = draft;
  if (view.method) packed.m = view.method;
  if (view.second) packed.n = view.second;
  if (view.compare !== null) packed.p = view.compare;
  if (view.order !== "composed") packed.o = ORDERS.indexOf(view.order);
  if (view.fold) packed.f = 1;
  if (ids.length) packed.i = ids;
  if (!packed.s.length && Object.keys(packed).length === 3) return "";
  return toBase64(JSON.stringify(packed));
}

/**
 * @param {string} text  what stands after the #
 * @returns {State}
 * @throws {LinkError}  foreign, broken, or of another version
 */
export function decode(text) {
  if (!text) return emptyState();
  const packed = parse(text);
  if (packed.v !== VERSION) {
    throw new LinkError(`This link was made by another version of the page (${Number(packed.v)}, here ${VERSION}).`);
  }
  try {
    return read(packed);
  } catch {
    throw new LinkError("This link is damaged: what it holds is not a trail.");
  }
}

function parse(text) {
  let packed;
  try {
    packed = JSON.parse(fromBase64(text));
  } catch {
    throw new LinkError("This link is not whole, or not one of this page: it may have been cut when it was copied.");
  }
  if (packed === null || typeof packed !== "object" || !("v" in packed)) {
    throw new LinkError("This link is not one of this page.");
  }
  return packed;
}

function read(packed) {
  const ids = (packed.i ?? []).map((id) => need(isId(id), id));
  const seen = new Set();
  const steps = need(packed.s.length <= MOST_STEPS, packed.s).map(([id, parent, query]) => {
    need(Number.isSafeInteger(id) && id > 0 && !seen.has(id) && (parent === 0 || seen.has(parent)));
    seen.add(id);
    return { id, parent: parent || null, query: readQuery(query, ids) };
  });
  const known = (id) => need(seen.has(id), id);
  const current = packed.c ? known(packed.c) : null;
  const draft = packed.d ? readQuery(packed.d, ids) : EMPTY;
  const view = {
    method: packed.m === undefined ? null : name(packed.m),
    second: packed.n === undefined ? null : name(packed.n),
    compare: packed.p === undefined ? null : known(packed.p),
    order: ORDERS[packed.o ?? 0] ?? need(false),
    fold: Boolean(packed.f),
  };
  return { trail: { steps, current, open: false, draft }, view };
}

function name(value) {
  return need(typeof value === "string" && /^[A-Za-z0-9_.:/-]{1,200}$/.test(value), value);
}

function need(holds, value) {
  if (!holds) throw new TypeError("not as expected");
  return value;
}

function toBase64(text) {
  const bytes = new TextEncoder().encode(text);
  const letters = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64(text) {
  const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(letters, (letter) => letter.charCodeAt(0)));
}
