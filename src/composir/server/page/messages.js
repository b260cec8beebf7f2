// What stands in the place of pictures: errors, waits, and nothing found; each says what to do.

import { h, icon } from "./dom.js";

const TITLES = {
  0: "The server cannot be reached",
  401: "An API key is needed",
  404: "It is not there any more",
  409: "The gallery cannot serve this",
  422: "This cannot be searched for",
  429: "The server is busy",
  503: "The server is not ready",
};

/**
 * A block with a title, words and buttons.
 * @param {Object} told
 * @param {string} told.kind   "error", "wait", "empty", "hint"
 * @param {string} told.title
 * @param {string|Node} told.text
 * @param {{label: string, run: function(): void}[]} [told.buttons]
 * @param {string} [told.small]
 */
export function message({ kind, title, text, buttons = [], small = "" }) {
  const drawing = { error: "problem", wait: "wait", empty: "nothing", hint: "reference" }[kind];
  return h(
    "div",
    { class: `message message-${kind}`, role: kind === "error" ? "alert" : "status" },
    icon(drawing),
    h("h2", {}, title),
    h("p", {}, text),
    buttons.length
      ? h("p", { class: "row" }, buttons.map(({ label, run }) => h("button", { type: "button", class: "button", onclick: run }, label)))
      : null,
    small ? h("p", { class: "small" }, small) : null,
  );
}

/** What went wrong, its id in the server's log, and another try where another answer may come. */
export function failure(problem, retry) {
  return message({
    kind: "error",
    title: TITLES[problem.status] ?? "The server failed",
    text: sentence(problem.message || "Something unforeseen happened in the page."),
    buttons: problem.status === 422 ? [] : [{ label: "Try again", run: retry }],
    small: problem.requestId ? `Request ${problem.requestId}` : "",
  });
}

/** A wait that ends by itself; as `patiently` tells it. */
export function waiting({ problem, seconds, now }) {
  const back = seconds === null;
  return message({
    kind: "wait",
    title: TITLES[problem.status],
    text: back
      ? "It has stopped, or the way to it is cut. The page looks for it and goes on by itself."
      : `${sentence(problem.message)} Trying again in ${seconds} s.`,
    buttons: [{ label: "Try now", run: now }],
    small: problem.requestId ? `Request ${problem.requestId}` : "",
  });
}

/** With a capital letter and a full stop. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

/** No picture is found. */
export function nothing({ filters, where }) {
  const text =
    filters.length || where
      ? "No picture passes the filters. Loosen one of them."
      : "The gallery has nothing for this. Try other words, or another picture.";
  return message({ kind: "empty", title: "Nothing found", text });
}

/** What comes next is of another gallery than what is shown. */
export function renewed(anew) {
  const text = "What follows is no longer of the gallery that these results are of.";
  return message({ kind: "hint", title: "The gallery was renewed", text, buttons: [{ label: "Begin anew", run: anew }] });
}
