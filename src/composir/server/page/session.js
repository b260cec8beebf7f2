// What a person can do to the query and the view. Each takes the state from one value to another; nothing is drawn here.

import { EMPTY, isBlank, MOST_PICTURES, MOST_WITHOUT, MOST_WORDS } from "./query.js";
import { go, push, queryOf, settle, stepOf, tune, type } from "./trail.js";

const BESIDE = { keep: "avoid", avoid: "keep" };

/** The commands over a store. */
export class Session {
  /**
   * @param {import("./store.js").Store} store
   * @param {import("./address.js").Address} address
   */
  constructor(store, address) {
    this.store = store;
    this.address = address;
  }

  /** The query that is shown. */
  get query() {
    return queryOf(this.store.state.trail);
  }

  /** Take a picture as the reference; the words stay. */
  takeReference(id) {
    this.#step({ reference: id, truth: null });
  }

  /** Search with a picture alone. */
  moreLike(id) {
    const { filters, where } = this.query;
    this.#step({ ...EMPTY, filters, where, reference: id });
  }

  /** Search without a reference. */
  dropReference() {
    const { text } = this.query;
    if (text.trim()) this.#step({ reference: null, truth: null, alpha: null, reverse: false });
    else this.startAnew();
  }

  /** Words as they are typed. */
  type(text) {
    const { trail } = this.store.state;
    const typed = type(trail, text.slice(0, MOST_WORDS));
    if (typed !== trail) this.#trail(typed, typed.current === trail.current ? "replace" : "push", "type");
  }

  /** The end of typing. */
  settle() {
    const { trail } = this.store.state;
    if (trail.open) this.#trail(settle(trail), "replace");
  }

  /** Say words and mean them. */
  say(text) {
    this.type(text);
    this.settle();
  }

  /** Between picture (0) and words (1); null for the method's default. */
  setAlpha(alpha) {
    this.#tune({ alpha }, "slide");
  }

  /** The weight of a direction; null for the method's default. */
  setWeight(name, weight) {
    const weights = { ...this.query.weights, [name]: weight };
    if (weight === null) delete weights[name];
    this.#tune({ weights }, "slide");
  }

  /** All weights as the method has them. */
  resetControls() {
    this.#tune({ alpha: null, weights: {} });
  }

  /** Words for what must not show; false if there is no room. */
  addWithout(text) {
    const words = text.trim().slice(0, MOST_WORDS);
    const { without } = this.query;
    if (!words || without.includes(words)) return true;
    if (without.length >= MOST_WITHOUT) return false;
    this.#step({ without: [...without, words] });
    return true;
  }

  /** Let it show again. */
  removeWithout(text) {
    this.#step({ without: this.query.without.filter((words) => words !== text) });
  }

  /** On the side "keep" or "avoid": keep or avoid the look of a picture, or no longer; false if there is no room. */
  toggle(side, id) {
    const { query } = this;
    const taken = query[side].includes(id);
    if (!taken && query[side].length >= MOST_PICTURES) return false;
    const own = taken ? query[side].filter((other) => other !== id) : [...query[side], id];
    this.#step({ [side]: own, [BESIDE[side]]: query[BESIDE[side]].filter((other) => other !== id) });
    return true;
  }

  /** Look for what leads to the picture. */
  setReverse(reverse) {
    this.#step({ reverse });
  }

  /** Filters and the condition written by hand. */
  setFilters(filters, where, pace = "type") {
    this.#tune({ filters, where }, pace);
  }

  /** A query of the benchmark, as a beginning of its own. */
  chooseTruth({ reference, text, ...truth }) {
    const change = { ...EMPTY, reference, text, truth };
    this.#trail(push(this.#settled(), change, null), "push");
  }

  /** No longer tell where a benchmark's targets stand. */
  forgetTruth() {
    this.#tune({ truth: null });
  }

  /** One step back; true if there was one. */
  undo() {
    const trail = this.#settled();
    if (trail.current !== this.store.state.trail.current) return this.#trail(trail, "replace"), true;
    if (trail.current === null) return false;
    const { parent } = stepOf(trail, trail.current);
    if (this.address.cameFrom(parent)) history.back();
    else this.goTo(parent);
    return true;
  }

  /** Show a step; null is before the first. */
  goTo(id) {
    this.#trail(go(this.store.state.trail, id), "push");
  }

  /** Begin another search; the trail stays. */
  startAnew() {
    this.goTo(null);
  }

  /** Which method ranks, null for the server's own. */
  setMethod(method) {
    this.#view({ method });
  }

  /** Which method stands beside it, null for none. */
  setSecond(second) {
    this.#view({ second, compare: null });
  }

  /** Which step stands beside the current one, null for none. */
  setCompare(compare) {
    this.#view({ compare, second: null });
  }

  /** By which similarity the loaded hits are ordered. */
  setOrder(order) {
    this.#view({ order });
  }

  /** Hide near-duplicates. */
  setFold(fold) {
    this.#view({ fold });
  }

  #settled() {
    return settle(this.store.state.trail);
  }

  #step(change) {
    const trail = this.#settled();
    const query = { ...queryOf(trail), ...change };
    // Before there is anything to search for, what is set waits for it.
    if (trail.current === null && isBlank(query)) this.#trail(tune(trail, change), "replace");
    else this.#trail(push(trail, change), "push");
  }

  #tune(change, pace = "now") {
    const before = this.#settled();
    const trail = tune(before, change);
    this.#trail(trail, trail.current === before.current ? "replace" : "push", pace);
  }

  #trail(trail, history, pace = "now") {
    const { view } = this.store.state;
    const left = trail.current !== this.store.state.trail.current && view.compare !== null;
    this.store.set({ trail, ...(left ? { view: { ...view, compare: null } } : {}) }, { history, pace });
  }

  #view(change) {
    this.store.set({ trail: this.#settled(), view: { ...this.store.state.view, ...change } });
  }
}
