// A benchmark's query above the results: where its targets stand, and how its subset is ranked.

import { $, fill, h, iconButton, show } from "./dom.js";
import { picture } from "./pictures.js";
import { queryOf } from "./trail.js";

/** The strip for the query that was chosen. */
export class Truth {
  #made = "";

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    app.store.subscribe((state) => this.draw(queryOf(state.trail)));
  }

  /** Draw it with the ranks as they are now. */
  draw({ truth, reference } = this.app.session.query) {
    show($("truth"), truth !== null);
    const ranks = this.app.columns.main?.answer?.target_ranks ?? {};
    const made = JSON.stringify([truth, reference, ranks]);
    if (made === this.#made) return;
    this.#made = made;
    fill($("truth"), truth && [this.#head(truth), this.#targets(truth, ranks), this.#subset(truth, reference, ranks)]);
  }

  #head(truth) {
    const { benchmark, gallery, session } = this.app;
    return h(
      "div",
      { class: "truth-head" },
      h("h2", {}, h("span", { class: "small" }, gallery.benchmark ?? "Benchmark"), h("br"), truth.query),
      h(
        "p",
        {},
        iconButton("left", "The query before", () => benchmark.choose(truth.index - 1), { id: "query-before", disabled: truth.index === 0 }),
        iconButton("rightward", "The next query", () => benchmark.choose(truth.index + 1), { id: "query-next" }),
        iconButton("close", "No longer show its targets", () => session.forgetTruth(), { id: "forget-truth" }),
      ),
    );
  }

  #targets({ targets }, ranks) {
    const told = targets.length === 1 ? "Target" : `${targets.length} targets`;
    return h("figure", { class: "truth-targets" }, h("figcaption", {}, told), h("ul", { class: "strip" }, byRank(targets, ranks).map((id) => this.#thumb(id, ranks[id], true))));
  }

  #subset({ targets, subset }, reference, ranks) {
    const others = subset.filter((id) => id !== reference);
    if (!others.length) return null;
    const sorted = byRank(others, ranks);
    const thumbs = sorted.map((id, i) => this.#thumb(id, i + 1, targets.includes(id), ranks[id]));
    return h("figure", { class: "truth-subset" }, h("figcaption", {}, "Its subset, by rank"), h("ol", { class: "strip", id: "subset" }, thumbs));
  }

  #thumb(id, shown, right, whole = shown) {
    const told = whole === undefined ? "not ranked" : `rank ${whole} of all`;
    return h(
      "li",
      { class: right ? "is-target" : "", dataset: { id } },
      h("button", { type: "button", class: "shot", title: told, "aria-label": `${right ? "Target" : "Of the subset"}, ${told}`, onclick: () => this.app.deeds.open(id) }, picture(id, 128)),
      h("span", { class: "rank" }, shown === undefined ? "–" : String(shown)),
    );
  }
}

const byRank = (ids, ranks) => [...ids].sort((one, two) => (ranks[one] ?? Infinity) - (ranks[two] ?? Infinity));
