// The benchmark's queries, page by page, to choose one.

import { get } from "./api.js";
import { $, fill, h } from "./dom.js";
import { headOf } from "./dialogs.js";
import { failure, sentence } from "./messages.js";
import { picture } from "./pictures.js";
import { say } from "./toast.js";

const COUNT = 20;
const SHOWN_TARGETS = 3;

/** The dialog of queries. */
export class Benchmark {
  #start = 0;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    $("open-benchmark").hidden = app.gallery.benchmark === null;
    $("open-benchmark").addEventListener("click", () => this.open());
  }

  /** Open it; false without a benchmark. */
  open() {
    if (this.app.gallery.benchmark === null) return false;
    $("benchmark").showModal();
    this.#load(this.#start);
    return true;
  }

  /** Take the query at a place as what is searched for. */
  async choose(place) {
    try {
      const { queries } = await get(`/v1/queries?start=${place}&count=1`);
      if (queries.length) this.#take(queries[0], place);
      else say("That was the last query.");
    } catch (problem) {
      say(sentence(problem.message));
    }
  }

  async #load(start) {
    this.#start = Math.max(0, start);
    try {
      this.#draw(await get(`/v1/queries?start=${this.#start}&count=${COUNT}`));
    } catch (problem) {
      fill($("benchmark"), this.#head(""), failure(problem, () => this.#load(start)));
    }
  }

  #take({ id, ...query }, index) {
    $("benchmark").close();
    this.app.session.chooseTruth({ ...query, index, query: id });
  }

  #draw({ total, queries }) {
    const rows = queries.map((query, i) => this.#row(query, this.#start + i));
    fill($("benchmark"), this.#head(`${total.toLocaleString("en")} queries`), h("ol", { class: "queries" }, rows), this.#foot(total, queries.length));
    $("benchmark").querySelector(".query, .close").focus({ focusVisible: false });
  }

  #head(told) {
    return headOf("benchmark", this.app.gallery.benchmark, told);
  }

  #row(query, index) {
    const targets = query.targets.slice(0, SHOWN_TARGETS);
    const left = query.targets.length - targets.length;
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "query", dataset: { query: query.id }, onclick: () => this.#take(query, index) },
        picture(query.reference, 128),
        h("span", { class: "query-words" }, query.text),
        h("span", { class: "query-targets" }, targets.map((id) => picture(id, 128)), left > 0 && h("small", {}, `+${left}`)),
      ),
    );
  }

  #foot(total, count) {
    const end = this.#start + count;
    const go = h("input", { type: "number", min: 1, max: Math.max(1, total), id: "query-number", "aria-label": "Number of the first query to show", placeholder: "No." });
    const turn = (label, start, disabled) => h("button", { type: "button", class: "button", disabled, onclick: () => this.#load(start) }, label);
    return h(
      "form",
      { class: "foot", onsubmit: (event) => (event.preventDefault(), go.value && this.#load(Math.min(total, Number(go.value)) - 1)) },
      turn("Earlier", this.#start - COUNT, this.#start === 0),
      h("span", { class: "small" }, count ? `${this.#start + 1}–${end} of ${total}` : "none"),
      turn("Later", end, end >= total),
      go,
      h("button", { type: "submit", class: "button" }, "Go"),
    );
  }
}
