// The parts of the page, and what they share.

import { bindKeys } from "./keys.js";
import { Benchmark } from "./benchmark.js";
import { Chips } from "./chips.js";
import { Columns } from "./columns.js";
import { Controls } from "./controls.js";
import { Export } from "./export.js";
import { Filters } from "./filters.js";
import { Help } from "./help.js";
import { Judge } from "./judge.js";
import { Large } from "./large.js";
import { Reference } from "./reference.js";
import { Switches } from "./switches.js";
import { TrailView } from "./trailview.js";
import { Truth } from "./truth.js";
import { Welcome } from "./welcome.js";
import { Words } from "./words.js";
import { actionsOf } from "./actions.js";
import { copyLink } from "./share.js";
import { deedsOf } from "./deeds.js";
import { $ } from "./dom.js";

/** The page at work. */
export class App {
  /**
   * @param {import("./store.js").Store} store
   * @param {import("./session.js").Session} session
   * @param {Object} gallery   of /v1/gallery
   * @param {Object[]} methods  of /v1/methods
   */
  constructor(store, session, gallery, methods) {
    Object.assign(this, { store, session, gallery, methods });
    this.deeds = deedsOf(this);
    this.judge = new Judge(this);
    this.large = new Large(this);
    this.benchmark = new Benchmark(this);
    this.reference = new Reference(this);
    this.words = new Words(this);
    this.controls = new Controls(this);
    this.chips = new Chips(this);
    this.filters = new Filters(this);
    this.switches = new Switches(this);
    this.trail = new TrailView(this);
    this.columns = new Columns(this);
    this.truth = new Truth(this);
    this.exporter = new Export(this);
    this.first = new Welcome(this);
    this.help = new Help(() => this.actions);
    this.actions = actionsOf(this);
    bindKeys(this, this.actions);
    this.#buttons();
  }

  /** A method by name; the server's own for null, and for one that it does not have. */
  method(name) {
    return this.methods.find((method) => method.name === name) ?? this.methods[0];
  }

  /** What an empty page shows. */
  welcome() {
    return this.first.draw();
  }

  #buttons() {
    $("copy-link").addEventListener("click", () => copyLink(this.session));
    $("skip").addEventListener("click", () => this.columns.main.grid.step(0));
  }
}
