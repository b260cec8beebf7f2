// What all dialogs have in common.

import { $, h, iconButton } from "./dom.js";

/** The head of a dialog: its title, a word beside it, and the way out. */
export function headOf(id, title, told = "") {
  return h(
    "div",
    { class: "dialog-head" },
    h("h2", { id: `${id}-title` }, title),
    told && h("span", { class: "small" }, told),
    iconButton("close", "Close (Escape)", () => $(id).close(), { class: "icon-button close" }),
  );
}

/** Let a click beside a dialog close it. */
export function closeBeside(id) {
  $(id).addEventListener("click", (event) => event.target === $(id) && $(id).close());
}
