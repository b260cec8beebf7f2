// One running search: the latest question wins, older ones are stopped, answers out of turn are dropped.

import { patiently } from "./patience.js";
import { search } from "./sent.js";

const TYPING = 220; // milliseconds of silence before words are searched for
const FASTEST = 50; // milliseconds between two questions of a moving slider
const SLOWEST = 500;

/**
 * @typedef {Object} Events
 * @property {function(boolean): void} started   whether it asks for further hits
 * @property {function(Object, boolean, Object): void} answered  the answer; whether it has further hits; what was asked
 * @property {function(Error, boolean): void} failed
 * @property {function(Object, boolean): void} waits  as `patiently` tells; whether further hits wait
 */
export class Search {
  #events;
  #turn = 0;
  #abort = null;
  #timer = 0;
  #waiting = null;
  #asked = null;
  #cursor = null;
  #started = 0;
  #took = FASTEST;

  /** @param {Events} events */
  constructor(events) {
    this.#events = events;
  }

  /** Whether there are further hits. */
  get hasMore() {
    return this.#cursor !== null;
  }

  /** Whether something is about to be asked. */
  get isAsking() {
    return this.#waiting !== null;
  }

  /**
   * Ask something else.
   * @param {Object} body  of /v1/search
   * @param {"now"|"type"|"slide"} pace  whether to wait for the end of typing, or not to flood while a slider moves
   */
  ask(body, pace = "now") {
    clearTimeout(this.#timer);
    this.#waiting = body;
    const wait = this.#wait(pace);
    if (wait > 0) this.#timer = setTimeout(() => this.hurry(), wait);
    else this.hurry();
  }

  /** Wait no longer with what was asked. */
  hurry() {
    if (this.#waiting !== null) this.#run(this.#waiting, null);
  }

  /** Ask for the hits that follow, if nothing is under way and nothing else is about to be asked. */
  more() {
    const idle = this.#abort === null && this.#waiting === null;
    if (this.#cursor !== null && idle) this.#run(this.#asked, this.#cursor);
  }

  /** Ask the same once more: further hits if they failed, else all. What waits to be asked goes before it. */
  retry() {
    if (this.#waiting !== null) this.hurry();
    else this.#run(this.#asked, this.#cursor);
  }

  /** Ask the same once more, from the first hit on. What waits to be asked goes before it. */
  anew() {
    this.#run(this.#waiting ?? this.#asked, null);
  }

  /** Ask nothing any more. */
  stop() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#turn++;
    this.#abort = this.#asked = this.#cursor = this.#waiting = null;
  }

  #wait(pace) {
    if (pace === "type") return TYPING;
    if (pace === "slide") return this.#started + Math.min(SLOWEST, Math.max(FASTEST, 1.2 * this.#took)) - performance.now();
    return 0;
  }

  async #run(body, cursor) {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    const turn = ++this.#turn;
    const further = cursor !== null;
    this.#started = performance.now();
    this.#asked = body;
    if (!further) this.#cursor = null;
    this.#events.started(further);
    try {
      const ask = () => search(further ? { ...body, cursor } : body, abort.signal);
      // One that was stopped may still be looking for the server, and would tell of its wait over another's answer.
      const waits = (wait) => turn === this.#turn && this.#events.waits(wait, further);
      const answer = await patiently(ask, abort.signal, waits);
      if (turn !== this.#turn) return;
      this.#abort = null;
      this.#cursor = answer.cursor;
      this.#took = performance.now() - this.#started;
      this.#events.answered(answer, further, body);
    } catch (error) {
      if (turn !== this.#turn || error.name === "AbortError") return;
      this.#abort = null;
      this.#events.failed(error, further);
    }
  }
}
