// A column of results: one query asked of one method, its hits page by page.

import { fill, h, show } from "./dom.js";
import { Ending } from "./ending.js";
import { Grid } from "./grid.js";
import { failure, message, nothing, renewed, waiting } from "./messages.js";
import { Search } from "./search.js";
import { bodyOf, obstacle } from "./request.js";
import { notes, ordered, summary } from "./summary.js";

const SKELETONS = 12;
const PATIENCE = 180; // milliseconds before it is shown that something is under way
const status = (told) => h("p", { class: "summary", role: "status" }, told);

/** One of one or two columns. */
export class Column {
  /** All hits loaded so far, best first. */
  hits = [];
  answer = null;
  /** What they answer: the last question, unless another is under way or could not be read. */
  asked = null;
  /** What was wrong with the filter of the last question, if that is why the hits are still those of an earlier one. */
  misread = null;
  #begun = false; // whether these hits begin anew, for the gallery was renewed
  #body = "";
  #told = "";
  #slow = 0;

  /**
   * @param {import("./deeds.js").Deeds} deeds
   * @param {function(Column): void} changed  called when there are other hits
   */
  constructor(deeds, changed) {
    this.changed = changed;
    this.head = h("div", { class: "column-head" });
    this.told = status(null);
    this.place = h("div", { class: "place" });
    this.list = h("ol", { class: "grid", "aria-label": "Results" });
    this.end = new Ending(() => this.search.more());
    this.element = h("section", { class: "column" }, h("div", { class: "column-bar" }, this.head, this.told), this.place, this.list, this.end.element);
    this.grid = new Grid(this.list, this.#deeds(deeds));
    this.search = new Search({
      started: (further) => this.#started(further),
      answered: (answer, further, body) => this.#answered(answer, further, body),
      failed: (problem, further) => this.#failed(problem, further),
      waits: (wait, further) => (further ? this.end.say(waiting(wait)) : this.#say(waiting(wait))),
    });
  }

  /**
   * Show the answer to a query.
   * @param {Object} spec  {query, method, fold, order}
   * @param {"now"|"type"|"slide"} pace
   * @param {function(): (Node|null)} blank  what to show where there is nothing to search for
   */
  ask(spec, pace, blank) {
    const before = this.spec;
    this.spec = spec;
    const why = obstacle(spec.query, spec.method);
    if (why !== null) return this.#refuse(why, blank);
    const body = bodyOf(spec.query, spec.method, spec.fold);
    const same = JSON.stringify(body);
    if (same !== this.#body) {
      this.#body = same;
      this.#begun = false;
      this.search.ask(body, pace);
      return;
    }
    if (pace === "now") this.search.hurry(); // Enter, before the end of typing was noticed
    if (before.order !== spec.order && this.hits.length) this.draw();
    else this.tell();
  }

  /** Hits in the order that is shown, unfolded ones behind those that hid them. */
  get shown() {
    return ordered(this.hits, this.spec.order).flatMap((hit) => [hit, ...(hit.unfolded ?? [])]);
  }

  /** Draw the cards, with marks as `this.marks` has them. */
  draw() {
    this.grid.show(this.shown, this.marks);
    this.tell();
  }

  /** Draw the marks alone. */
  mark(marks) {
    const told = JSON.stringify(marks, (_, value) => (value instanceof Set || value instanceof Map ? [...value] : value));
    if (told === this.#told) return;
    this.#told = told;
    this.marks = marks;
    if (this.hits.length) this.grid.mark(this.shown, marks);
  }

  /** Say how many there are, and where the targets stand; what is said already is left alone, lest readers say it again. */
  tell() {
    const told = status(this.answer && [...summary(this.answer, this.hits, this.spec), ...notes(this.spec.query, this.answer, this.misread, this.#begun)]);
    if (!told.isEqualNode(this.told)) fill(this.told, ...told.childNodes);
  }

  /** Stop, for good. */
  close() {
    this.search.stop();
    this.end.close();
    this.element.remove();
  }

  /** What is done to a picture of this column is done in view of its query. */
  #deeds(deeds) {
    const here = (deed) => (id) => deed(id, this);
    const [open, right, wrong] = [deeds.open, deeds.right, deeds.wrong].map(here);
    return { ...deeds, open, right, wrong, unfold: (id) => this.#unfold(id) };
  }

  #refuse(why, blank) {
    this.search.stop();
    this.#body = "";
    this.#quiet();
    this.#empty();
    this.#say(why ? message({ kind: "hint", title: "One thing is missing", text: why }) : blank());
    this.changed(this);
  }

  #empty() {
    Object.assign(this, { hits: [], answer: null, asked: null, misread: null });
    this.grid.clear();
    this.tell();
    this.end.say(null);
  }

  #started(further) {
    if (further) return this.end.loading();
    this.end.say(null);
    clearTimeout(this.#slow);
    this.#slow = setTimeout(() => this.element.classList.add("busy"), PATIENCE);
    if (this.hits.length) return;
    this.#say(null);
    this.grid.wait(SKELETONS);
  }

  #answered(answer, further, body) {
    this.#quiet();
    const known = new Set(further ? this.hits.map(({ id }) => id) : []);
    const fresh = answer.hits.filter(({ id }) => !known.has(id) && known.add(id));
    this.hits = further ? [...this.hits, ...fresh] : fresh;
    this.misread = null;
    this.asked = body;
    this.answer = further ? { ...this.answer, ...answer, target_ranks: this.answer.target_ranks } : answer;
    this.#say(this.hits.length ? null : nothing(this.spec.query));
    this.changed(this);
    this.draw();
    if (!further && this.element.getBoundingClientRect().top < 0) this.element.scrollIntoView();
    this.end.answered(this.hits.length, this.search.hasMore);
  }

  #failed(problem, further) {
    this.#quiet();
    if (problem.code === "bad_filter") return this.#keep(problem);
    if (further && problem.code === "stale_cursor") return this.#anew();
    if (further) return this.end.say(failure(problem, () => this.search.retry()));
    this.#empty();
    this.changed(this);
    this.#say(failure(problem, () => this.search.retry()));
  }

  /** A filter is often typed in view of the results: they stay until it can be read; what is wrong is said beside it. */
  #keep(problem) {
    this.misread = problem;
    const text = "What is wrong with it is said under Filters.";
    this.#say(this.hits.length ? null : message({ kind: "hint", title: "The filter cannot be read", text }));
    this.changed(this);
    this.draw();
  }

  /** What follows is of another gallery than what is shown. Of itself only once, lest two galleries in turn go on for ever. */
  #anew() {
    if (this.search.isAsking) return this.end.say(null); // these results are about to go
    if (this.#begun) return this.end.say(renewed(() => this.search.anew()));
    this.#begun = true;
    this.search.anew();
  }

  #unfold(id) {
    const hit = this.hits.find((each) => each.id === id);
    const alike = () => hit.folded.map((other) => ({ id: other, alike: hit.rank, path: "", why: {}, metadata: {} }));
    hit.unfolded = hit.unfolded ? null : alike();
    this.draw();
    this.grid.focus(id);
  }

  #quiet() {
    clearTimeout(this.#slow);
    this.element.classList.remove("busy");
  }

  #say(node) {
    this.element.classList.toggle("blank", node?.classList.contains("welcome") ?? false);
    fill(this.place, node);
    show(this.place, node !== null);
  }
}
