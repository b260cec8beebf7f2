// Right and wrong: what a person says of answers, sent to the server, which keeps it as an evaluation set.

import { $ } from "./dom.js";
import { post } from "./api.js";
import { sentence } from "./messages.js";
import { say } from "./toast.js";

const OTHER = { right: "wrong", wrong: "right" };
const NONE = { right: new Set(), wrong: new Set() };

/** Verdicts on the answers to each query; what was said earlier in this browser is kept, for a verdict replaces the last. */
export class Judge {
  #last = Promise.resolve();

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.place = `composir.judged.${app.gallery.name}.${app.gallery.key}`;
    this.kept = read(this.place);
  }

  /** Whether answers to this query can be judged. */
  can({ reference, text, reverse }) {
    return this.app.gallery.judging && Boolean(reference && text.trim()) && !reverse;
  }

  /** @returns {{right: Set<string>, wrong: Set<string>}} */
  of(query) {
    const kept = this.can(query) ? this.kept[keyOf(query)] : null;
    return kept ? { right: new Set(kept.right), wrong: new Set(kept.wrong) } : NONE;
  }

  /**
   * Say that a picture is right or wrong, or no longer.
   * @param {import("./query.js").Query} query
   * @param {"right"|"wrong"} side
   */
  toggle(query, side, id) {
    if (!this.app.gallery.judging) return say("Judging is switched off on this server.");
    if (!this.can(query)) return say("Judging needs a picture and words to judge by.");
    const before = this.of(query);
    const own = new Set(before[side]);
    if (!own.delete(id)) own.add(id);
    const other = new Set(before[OTHER[side]]);
    other.delete(id);
    this.#keep(query, { [side]: [...own], [OTHER[side]]: [...other] });
    this.#last = this.#last.then(() => this.#send(query, before));
  }

  async #send(query, before) {
    const { right, wrong } = this.kept[keyOf(query)];
    try {
      const kept = await post("/v1/judgements", { reference: query.reference, text: query.text.trim(), right, wrong });
      const told = `${kept.queries} ${kept.queries === 1 ? "query" : "queries"} judged, kept in ${kept.folder}`;
      $("judged").textContent = told;
      $("judged").title = `composir eval --data jsonl --root ${kept.folder}`;
      say(`${told}.`);
    } catch (problem) {
      this.#keep(query, { right: [...before.right], wrong: [...before.wrong] });
      say(`Not kept: ${sentence(problem.message)}`);
    }
  }

  #keep(query, verdict) {
    this.kept[keyOf(query)] = verdict;
    localStorage.setItem(this.place, JSON.stringify(this.kept));
    this.app.columns.mark();
  }
}

const keyOf = ({ reference, text }) => `${reference} ${text.trim()}`;

function read(place) {
  try {
    return JSON.parse(localStorage.getItem(place)) ?? {};
  } catch {
    return {};
  }
}
