// Sliders: between picture and words, or one for each direction that a method weighs.

import { $, fill, h } from "./dom.js";
import { directionsOf, NEUTRAL } from "./request.js";
import { queryOf } from "./trail.js";

const MIDDLE = 0.5;

/** The sliders that the chosen methods take. */
export class Controls {
  #made = "";

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    app.store.subscribe((state) => this.#draw(queryOf(state.trail), state.view));
  }

  /** Move the slider between picture and words by so much. */
  nudge(amount) {
    const slider = $("alpha");
    if (!slider || slider.disabled) return;
    slider.value = Number(slider.value) + amount;
    slider.dispatchEvent(new Event("input"));
  }

  #draw(query, view) {
    const methods = [view.method, view.second].filter((name, i) => !i || name).map((name) => this.app.method(name));
    const controls = [...new Set(methods.flatMap(({ controls }) => controls))];
    const both = Boolean(query.reference && query.text.trim());
    if (controls.join() !== this.#made) this.#make(controls);
    if (controls.includes("alpha")) this.#set($("alpha"), query.alpha, MIDDLE, both);
    for (const name of directionsOf({ controls })) this.#set($(`weight-${name}`), query.weights[name] ?? null, NEUTRAL, both);
    this.#told(query, controls, both);
  }

  #make(controls) {
    this.#made = controls.join();
    const { session } = this.app;
    const alpha = controls.includes("alpha") && [
      slider({ id: "alpha", label: "Between image and words", low: "image", high: "words", min: 0, max: 1, step: 0.01 }, (value) =>
        session.setAlpha(value),
      ),
    ];
    const weights = directionsOf({ controls }).map((name) =>
      slider({ id: `weight-${name}`, label: `Weight of the ${spaced(name)}`, low: `${spaced(name)} weight`, high: "", min: 0, max: 2, step: 0.05 }, (value) =>
        session.setWeight(name, value),
      ),
    );
    const reset = h("button", { type: "button", class: "link", id: "reset-controls", onclick: () => session.resetControls() }, "Use the method’s default");
    fill($("controls"), controls.length ? h("div", { class: "group sliders" }, alpha, weights, h("p", { class: "small", id: "slider-told" }), reset) : null);
  }

  #set(input, value, rest, usable) {
    input.disabled = !usable;
    if (Number(input.value) !== (value ?? rest)) input.value = value ?? rest;
    const share = (Number(input.value) - input.min) / (input.max - input.min);
    input.style.setProperty("--share", share);
    input.classList.toggle("untouched", value === null);
    const told = value === null ? "default" : value.toFixed(2);
    input.setAttribute("aria-valuetext", told);
    input.closest(".slider").querySelector("output").textContent = told;
  }

  #told(query, controls, both) {
    if (!controls.length) return;
    const touched = query.alpha !== null || Object.keys(query.weights).length > 0;
    $("reset-controls").hidden = !touched;
    $("slider-told").textContent = both ? "" : "Weighs the picture against the words: give both.";
  }
}

function slider({ id, label, low, high, min, max, step }, moved) {
  const input = h("input", { type: "range", id, min, max, step, "aria-label": label });
  input.addEventListener("input", () => moved(Number(input.value)));
  const ends = h("div", { class: "ends" }, h("span", {}, low), h("output", { for: id }), h("span", {}, high));
  return h("div", { class: "slider" }, ends, input);
}

const spaced = (name) => name.replaceAll("_", " ");
