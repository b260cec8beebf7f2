// The address bar: every change is in it, every step is an entry of the browser's history.

import { decode, emptyState, encode, LinkError } from "./codec.js";
import { go } from "./trail.js";

const PAUSE = 150; // milliseconds
const own = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

/** Keeps state and address the same. */
export class Address {
  #trail; // names this trail, so that Back knows whether the entry belongs to it
  #written = "";
  #timer = 0;

  /**
   * @param {import("./store.js").Store} store
   * @param {function(string): void} complain  told of links that cannot be read
   */
  constructor(store, complain) {
    this.store = store;
    this.complain = complain;
    this.#trail = history.state?.trail ?? own();
    store.subscribe((state, _, how) => this.#note(state, how));
    addEventListener("popstate", (event) => this.#travel(event.state));
    addEventListener("hashchange", () => this.#visit());
  }

  /** The state that the address holds when the page is opened. */
  read() {
    return this.#decoded();
  }

  /** Whether the entry before this one in the browser's history is that step. */
  cameFrom(step) {
    return history.state?.trail === this.#trail && history.state.from === step && history.state.step !== step;
  }

  /** Let the address hold the state as it is now. */
  flush() {
    clearTimeout(this.#timer);
    this.#write(this.store.state, "replace");
  }

  /** Browsers refuse addresses that change with every move of a slider: those wait for a pause. */
  #note(state, { history, pace }) {
    clearTimeout(this.#timer);
    if (history === "push" || pace === "now") this.#write(state, history);
    else this.#timer = setTimeout(() => this.#write(state, history), PAUSE);
  }

  #write(state, how) {
    const before = history.state?.trail === this.#trail ? history.state : null;
    const step = state.trail.current;
    const push = how === "push" && before !== null && before.step !== step;
    const from = push ? before.step : (before?.from ?? null);
    this.#written = encode(state);
    const address = location.pathname + (this.#written ? `#${this.#written}` : "");
    const entry = { trail: this.#trail, step, from };
    if (push) history.pushState(entry, "", address);
    else history.replaceState(entry, "", address);
  }

  /** Back and Forward: within a trail they only choose the step, so that what came after it stays reachable. */
  #travel(entry) {
    if (entry?.trail === this.#trail && this.#knows(entry.step)) {
      const { trail, view } = this.store.state;
      this.store.set({ trail: go(trail, entry.step), view: { ...view, compare: null } }, { history: "replace" });
      return;
    }
    this.#visit();
  }

  #knows(step) {
    return step === null || this.store.state.trail.steps.some(({ id }) => id === step);
  }

  /** An address that was typed or pasted. */
  #visit() {
    if (location.hash.slice(1) === this.#written) return;
    this.#trail = history.state?.trail ?? own();
    this.store.set(this.#decoded(), { history: "replace" });
  }

  #decoded() {
    try {
      return decode(location.hash.slice(1));
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
      this.complain(error.message);
      return emptyState();
    }
  }
}
