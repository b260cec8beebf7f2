// What can be done with a picture, wherever it is shown: in the grid, in the large view, by key.

import { say } from "./toast.js";

/**
 * @typedef {Object} Deeds  each takes the id of a picture, and the column that it is in, where that matters
 * @property {function(string): void} open
 * @property {function(string): void} reference
 * @property {function(string): void} like
 * @property {function(string): void} keep
 * @property {function(string): void} avoid
 * @property {function(string): void} right
 * @property {function(string): void} wrong
 */

/** Those that have a key and a button, in the order in which they are shown; an icon has the name of its deed. */
export const DEEDS = [
  { name: "reference", key: "r", label: "Use as reference", short: "Use as reference" },
  { name: "like", key: "l", label: "More like this", short: "More like this" },
  { name: "keep", key: "k", label: "Keep this look", short: "Keep" },
  { name: "avoid", key: "a", label: "Avoid this look", short: "Avoid" },
  { name: "right", key: "y", label: "Right answer", short: "Right" },
  { name: "wrong", key: "n", label: "Wrong answer", short: "Wrong" },
];

/**
 * @param {import("./app.js").App} app
 * @returns {Deeds}
 */
export function deedsOf(app) {
  const look = (side, done) => (id) => {
    const before = app.session.query[side].includes(id);
    if (!app.session.toggle(side, id)) return say("There are as many as can be; take one away first.");
    say(before ? "Taken back." : done);
  };
  const judge = (side) => (id, column = app.columns.main) => app.judge.toggle(column.spec.query, side, id);
  return {
    open: (id, column = app.columns.main) => app.large.open(id, column),
    reference: (id) => {
      app.large.close();
      app.session.takeReference(id);
      app.words.focus();
    },
    like: (id) => {
      app.large.close();
      app.session.moreLike(id);
      say("Showing what looks alike.");
    },
    keep: look("keep", "Its look is kept."),
    avoid: look("avoid", "Its look is avoided."),
    right: judge("right"),
    wrong: judge("wrong"),
  };
}
