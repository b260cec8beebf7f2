// The state of the page and who wants to know when it changes.

/**
 * @typedef {Object} How
 * @property {"push"|"replace"} history  what becomes of the address
 * @property {"now"|"type"|"slide"} pace  how soon to search
 */
export class Store {
  #listeners = [];

  /** @param {import("./codec.js").State} state */
  constructor(state) {
    this.state = state;
  }

  /** Call `listener(state, previous, how)` after each change. */
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /**
   * Take another state.
   * @param {Partial<import("./codec.js").State>} change
   * @param {Partial<How>} how
   */
  set(change, how = {}) {
    const previous = this.state;
    this.state = { ...previous, ...change };
    const complete = { history: "replace", pace: "now", ...how };
    for (const listener of this.#listeners) listener(this.state, previous, complete);
  }
}
