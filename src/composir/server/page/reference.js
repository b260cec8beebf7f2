// The reference: its well in the panel, and all ways by which a picture gets into it.

import { $, fill, h, icon, iconButton, show } from "./dom.js";
import { mayBePicture, pictureIn, sendAddress, sendFile } from "./intake.js";
import { sentence } from "./messages.js";
import { patiently } from "./patience.js";
import { picture } from "./pictures.js";
import { remember } from "./sent.js";
import { queryOf } from "./trail.js";

/** The well and what falls into it. */
export class Reference {
  #abort = null;
  #shown = undefined;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    $("file").addEventListener("change", (event) => this.#picked(event.target));
    addEventListener("paste", (event) => this.#pasted(event));
    addEventListener("dragover", (event) => this.#hover(event));
    addEventListener("dragleave", (event) => event.relatedTarget === null && show($("drop"), false));
    addEventListener("drop", (event) => this.#dropped(event));
    app.store.subscribe((state, previous) => {
      if (queryOf(state.trail).reference !== queryOf(previous.trail).reference) this.#complain("");
      this.#draw(queryOf(state.trail));
    });
  }

  /** Open the file chooser. */
  pick() {
    $("file").click();
  }

  /**
   * Take what was dropped, pasted or picked.
   * @param {{id: string}|{file: File}|{url: string}|null} given
   */
  async take(given) {
    this.#complain("");
    if (given === null) return this.#complain("That was no picture. Drop or paste a picture, or its file.");
    if ("id" in given) return this.app.session.takeReference(given.id);
    if ("url" in given && !this.app.gallery.fetch_urls) {
      return this.#complain("This server does not fetch web addresses. Save the picture, then drop its file here.");
    }
    await this.#send(given);
  }

  async #send(given) {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    const { session, store } = this.app;
    session.settle();
    const method = store.state.view.method;
    const text = session.query.text.trim();
    const ask = () =>
      given.file ? sendFile(given.file, text, method, abort.signal) : sendAddress(given.url, text, method, abort.signal);
    this.#preview(given.file);
    try {
      const id = await patiently(ask, abort.signal, ({ problem }) => this.#complain(sentence(problem.message)));
      this.#complain("");
      if (given.file) remember(id, given.file);
      if (abort === this.#abort) session.takeReference(id);
    } catch (problem) {
      if (problem.name !== "AbortError") this.#complain(sentence(problem.message));
    } finally {
      if (abort === this.#abort) this.#settle();
    }
  }

  #settle() {
    this.#abort = null;
    this.#shown = undefined;
    this.#draw(this.app.session.query);
  }

  #picked(input) {
    const [file] = input.files;
    input.value = "";
    if (file) this.take({ file });
  }

  #pasted(event) {
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.("input, textarea");
    if (!event.clipboardData.files.length && typing) return;
    event.preventDefault();
    this.take(pictureIn(event.clipboardData));
  }

  #hover(event) {
    if (!mayBePicture(event.dataTransfer)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    show($("drop"), true);
  }

  #dropped(event) {
    show($("drop"), false);
    if (!mayBePicture(event.dataTransfer)) return;
    event.preventDefault();
    this.take(pictureIn(event.dataTransfer));
  }

  #complain(text) {
    $("reference-problem").textContent = text;
    show($("reference-problem"), text !== "");
  }

  #preview(file) {
    const image = h("img", { alt: "" });
    if (file) {
      const own = (image.src = URL.createObjectURL(file));
      image.addEventListener("load", () => URL.revokeObjectURL(own));
      image.addEventListener("error", () => image.remove());
    }
    fill($("reference"), h("div", { class: "well sending", role: "status" }, image, h("p", {}, "Sending the picture …")));
  }

  #draw(query) {
    if (this.#abort) return;
    const wanted = `${query.reference} ${query.reverse}`;
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    fill($("reference"), query.reference ? this.#filled(query) : this.#hollow());
  }

  #hollow() {
    return h(
      "button",
      { type: "button", class: "well hollow", onclick: () => this.pick(), id: "pick" },
      icon("picture"),
      h("b", {}, "Choose a picture"),
      h("span", {}, "or drop or paste one"),
    );
  }

  #filled({ reference, reverse }) {
    const told = reverse ? "The result" : "This picture";
    const image = picture(reference, 512, "The picture to search with");
    image.addEventListener("error", () =>
      this.#complain("This picture is not held by the server any more. Choose or drop it again."),
    );
    return h(
      "div",
      { class: "well filled" },
      h("button", { type: "button", class: "shot", "aria-label": "Show the reference large", onclick: () => this.app.deeds.open(reference) }, image),
      h("span", { class: "tag" }, told),
      h(
        "div",
        { class: "well-acts" },
        iconButton("replace", "Choose another picture (I)", () => this.pick(), { id: "pick" }),
        iconButton("close", "Search without a picture", () => this.app.session.dropReference(), { id: "drop-reference" }),
      ),
    );
  }
}
