// The end of a column: it tells when it comes near, and says what is to be known of what follows.

import { fill, h } from "./dom.js";
import { counted } from "./summary.js";

const NEAR = "900px";

/** What stands below the last card. It stays until the next answer, whatever is drawn anew above it. */
export class Ending {
  element = h("div", { class: "end" });
  #watch;

  /** @param {function(): void} near  called when the end comes near */
  constructor(near) {
    this.#watch = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && near(), { rootMargin: NEAR });
    this.#watch.observe(this.element);
  }

  /** Say this, null for nothing. */
  say(node) {
    fill(this.element, node);
  }

  /** Say that further pictures are on their way. */
  loading() {
    this.say(h("p", { class: "more" }, "Loading more …"));
  }

  /** So many pictures are shown, and whether there are more: look again, for an end that was and is near tells nothing. */
  answered(count, hasMore) {
    this.say(count && !hasMore ? h("p", {}, `That is all: ${counted(count)}.`) : null);
    this.#watch.unobserve(this.element);
    this.#watch.observe(this.element);
  }

  /** Tell nothing any more. */
  close() {
    this.#watch.disconnect();
  }
}
