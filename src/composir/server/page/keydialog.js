// Asks for the API key; it is kept until the tab is closed.

import { $, fill, h } from "./dom.js";

/**
 * Ask for a key.
 * @param {boolean} again  whether one was refused
 * @returns {Promise<string|null>}  null if the person has none
 */
export function askForKey(again) {
  const field = h("input", { type: "password", id: "key-field", autocomplete: "off", spellcheck: "false", required: true });
  const told = again
    ? "The server does not know this key. Check it, or ask whoever runs the server."
    : "This server answers only those who have a key. It is kept until this tab is closed.";
  return new Promise((resolve) => {
    const form = h(
      "form",
      { method: "dialog", onsubmit: () => ($("key").returnValue = field.value.trim()) },
      h("h2", { id: "key-title" }, "API key"),
      h("p", { role: again ? "alert" : null }, told),
      h("label", { for: "key-field", class: "unseen" }, "API key"),
      field,
      h("p", { class: "row" }, h("button", { type: "submit", class: "button primary" }, "Open the gallery")),
    );
    $("key").returnValue = "";
    fill($("key"), form);
    $("key").addEventListener("close", () => resolve($("key").returnValue || null), { once: true });
    $("key").showModal();
    field.focus();
  });
}
