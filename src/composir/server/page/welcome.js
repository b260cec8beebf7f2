// The first visit: what to do, and three queries to begin with, over pictures of this very gallery.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { picture } from "./pictures.js";

const IDEAS = [
  { find: "blue", text: "in red" },
  { find: "plain", text: "with stripes" },
  { find: "bright", text: "in black" },
];
const WORDS = ["something red", "black and white", "with stripes"];
const AMONG = 24; // pictures to choose from

/** The block for an empty page. */
export class Welcome {
  #examples = null;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
  }

  /** Make the block; its examples come when they are found, and are kept. */
  draw() {
    const list = h("ul", { class: "examples", "aria-label": "Examples" }, IDEAS.map(() => h("li", {}, h("div", { class: "example skeleton" }))));
    this.#fill(list);
    return h(
      "div",
      { class: "welcome" },
      h("h1", {}, "This picture, but …"),
      h("p", { class: "lead" }, "Give a picture and say what should differ. Drop a file, paste one, or begin with one of these:"),
      list,
      h("p", { class: "or" }, "Or with words alone: ", WORDS.map((text) => h("button", { type: "button", class: "chip", onclick: () => this.app.session.say(text) }, text))),
      h("p", { class: "small" }, h("kbd", {}, "/"), " words   ", h("kbd", {}, "I"), " picture   ", h("kbd", {}, "?"), " all keys"),
    );
  }

  async #fill(list) {
    this.#examples ??= this.#find();
    const found = await this.#examples;
    list.replaceChildren(...found.map((example) => h("li", {}, this.#card(example))));
    list.hidden = !found.length;
  }

  #card({ reference, text }) {
    const begin = () => {
      this.app.session.moreLike(reference);
      this.app.session.say(text);
    };
    return h("button", { type: "button", class: "example", onclick: begin }, picture(reference, 256), h("span", {}, "… ", text));
  }

  async #find() {
    const none = () => []; // an example less is no error
    const found = await this.#ofBenchmark().catch(none);
    return found.length ? found : this.#ofGallery().catch(none);
  }

  async #ofBenchmark() {
    if (this.app.gallery.benchmark === null) return [];
    const { total } = await get("/v1/queries?count=1");
    const starts = IDEAS.map((_, i) => Math.floor(((i + Math.random()) * total) / IDEAS.length));
    const pages = await Promise.all([...new Set(starts)].map((start) => get(`/v1/queries?start=${start}&count=1`)));
    return pages.flatMap(({ queries }) => queries);
  }

  async #ofGallery() {
    if (!this.app.method(null).words_alone) return [];
    const taken = new Set();
    const found = [];
    for (const { find, text } of IDEAS) {
      const { hits } = await post("/v1/search", { text: find, k: AMONG });
      const free = hits.filter(({ id }) => !taken.has(id));
      if (!free.length) continue;
      const { id } = free[Math.floor(Math.random() * free.length)];
      taken.add(id);
      found.push({ reference: id, text });
    }
    return found;
  }
}
