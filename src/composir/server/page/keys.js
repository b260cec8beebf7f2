// Binds the table of actions to the keyboard.

import { takesText } from "./dom.js";
import { say } from "./toast.js";

const OWN_ARROWS = "input[type=range], select, [role=slider]";

/**
 * @param {import("./app.js").App} app
 * @param {import("./actions.js").Action[]} actions
 */
export function bindKeys(app, actions) {
  const byKey = new Map(actions.flatMap((action) => action.keys.map((key) => [key, action])));
  addEventListener("keydown", (event) => {
    const action = byKey.get(keyOf(event));
    if (!action || !applies(app, action, event)) return;
    const { id, column } = action.picture ? meant(app) : {};
    event.preventDefault();
    if (action.picture && !id) return say("Which picture? Choose one with the arrow keys, or point at it.");
    action.run(id, column);
  });
}

/** The key's name; on a keyboard without Latin letters, the letter that stands at its place on one that has them. */
function keyOf({ key, code }) {
  if (key.length > 1) return key;
  return key > "~" && /^Key[A-Z]$/.test(code) ? code.at(-1).toLowerCase() : key.toLowerCase();
}

function applies(app, action, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return false;
  if (document.querySelector("dialog[open]") && !(app.large.id && action.large)) return false;
  if (takesText(event.target) && action.id !== "leave") return false;
  if (event.key.startsWith("Arrow") && event.target.matches?.(OWN_ARROWS)) return false;
  return action.when?.(event) ?? true;
}

/** The picture that is shown large, else the one with the focus, else the one that is pointed at. */
function meant(app) {
  if (app.large.id) return app.large;
  const card = document.activeElement.closest(".card") ?? document.querySelector(".card:hover");
  return card ? { id: card.dataset.id, column: app.columns.of(card) } : {};
}
