// Everything that has a key. The list that ? opens is made of this very table.

import { copyLink } from "./share.js";
import { DEEDS } from "./deeds.js";
import { $ } from "./dom.js";
import { say } from "./toast.js";

/**
 * @typedef {Object} Action
 * @property {string} id
 * @property {string[]} keys   as KeyboardEvent.key has them, letters in lower case
 * @property {string} title
 * @property {string} group
 * @property {boolean} [large]  also while a picture is shown large
 * @property {function(string, Object): void} run  given the picture that is meant and its column, where `picture`
 * @property {boolean} [picture]  needs one
 * @property {function(Event): boolean} [when]
 */

const onCard = (event) => Boolean(event.target.closest?.(".shot"));

/**
 * @param {import("./app.js").App} app
 * @returns {Action[]}
 */
export function actionsOf(app) {
  return [...searching(app), ...moving(app), ...onPictures(app), ...steps(app), ...viewing(app)];
}

function searching({ words, reference, controls, session }) {
  const group = "Searching";
  return [
    { id: "words", keys: ["/"], title: "Write words", group, run: () => words.focus() },
    { id: "pick", keys: ["i"], title: "Choose a picture", group, run: () => reference.pick() },
    { id: "without", keys: ["w"], title: "Say what must not show", group, run: () => revealed("without").focus() },
    { id: "to-image", keys: ["["], title: "Closer to the image", group, run: () => controls.nudge(-0.05) },
    { id: "to-words", keys: ["]"], title: "Closer to the words", group, run: () => controls.nudge(0.05) },
    { id: "default", keys: ["0"], title: "The method’s default", group, run: () => session.resetControls() },
    { id: "reverse", keys: ["v"], title: "Reverse: the picture is the result", group, run: () => $("reverse").click() },
  ];
}

function moving(app) {
  const group = "Moving";
  const grid = () => app.columns.of(document.activeElement)?.grid;
  const by = (count) => () => (app.large.id ? app.large.step(Math.sign(count(grid()))) : grid()?.step(count(grid())));
  return [
    { id: "next", keys: ["ArrowRight"], title: "The next picture", group, large: true, run: by(() => 1) },
    { id: "before", keys: ["ArrowLeft"], title: "The picture before", group, large: true, run: by(() => -1) },
    { id: "below", keys: ["ArrowDown"], title: "A row down", group, run: by((each) => each.columns), when: (event) => inGrid(event) },
    { id: "above", keys: ["ArrowUp"], title: "A row up", group, run: by((each) => -each.columns), when: (event) => inGrid(event) },
    { id: "open", keys: ["Enter"], title: "Show the picture large", group, picture: true, when: onCard, run: app.deeds.open },
    { id: "leave", keys: ["Escape"], title: "From a field to the results", group, run: () => grid()?.step(0), when: (event) => event.target.closest?.(".panel") !== null },
  ];
}

function onPictures({ deeds }) {
  const group = "On a picture";
  return DEEDS.map(({ name, key, label }) => ({ id: name, keys: [key], title: label, group, large: true, picture: true, run: deeds[name] }));
}

function steps({ session, store, benchmark }) {
  const group = "Steps";
  const undo = () => session.undo() || say("There is no step before this.");
  return [
    { id: "undo", keys: ["u", "Backspace"], title: "Undo: one step back", group, run: undo },
    { id: "compare", keys: ["p"], title: "Compare with the step before", group, run: () => compare(session, store.state) },
    { id: "anew", keys: ["x"], title: "Begin another search", group, run: () => session.startAnew() },
    { id: "benchmark", keys: ["b"], title: "Queries of the benchmark", group, run: () => benchmark.open() || say("The gallery has no benchmark.") },
  ];
}

function viewing(app) {
  const { session, switches, filters } = app;
  const group = "View";
  return [
    { id: "order", keys: ["o"], title: "Order by composed, image, words", group, run: () => switches.turnOrder() },
    { id: "second", keys: ["s"], title: "Two methods side by side", group, run: () => switches.second() || say("Only one method fits this gallery.") },
    { id: "fold", keys: ["h"], title: "Fold near-duplicates", group, run: () => $("fold").click() },
    { id: "filters", keys: ["f"], title: "Filters", group, run: () => revealed("filters") && filters.toggle() },
    { id: "theme", keys: ["d"], title: "Dark or light", group, large: true, run: () => $("theme").click() },
    { id: "link", keys: ["c"], title: "Copy a link to all of this", group, large: true, run: () => copyLink(session) },
    { id: "export", keys: ["e"], title: "Export the results", group, run: () => app.exporter.open() },
    { id: "help", keys: ["?"], title: "This list", group, large: true, run: () => app.help.open() },
  ];
}

function compare(session, { trail, view }) {
  const step = trail.steps.find(({ id }) => id === trail.current);
  if (view.compare !== null) session.setCompare(null);
  else if (step?.parent) session.setCompare(step.parent);
  else say("There is no step before this.");
}

const inGrid = (event) => event.target === document.body || event.target.closest?.("#main") !== null;

/** An element of the part that a phone folds away, made visible. */
function revealed(id) {
  if (!$(id).checkVisibility()) $("more-controls").click();
  return $(id);
}
