// The list of keys, made of the table that binds them.

import { $, fill, h } from "./dom.js";
import { closeBeside, headOf } from "./dialogs.js";

const SYMBOLS = { ArrowRight: "→", ArrowLeft: "←", ArrowDown: "↓", ArrowUp: "↑", Enter: "Enter", Escape: "Esc", Backspace: "⌫" };

/** The dialog. */
export class Help {
  /** @param {function(): import("./actions.js").Action[]} actions */
  constructor(actions) {
    this.actions = actions;
    closeBeside("help");
    $("open-help").addEventListener("click", () => this.open());
  }

  /** Open it. */
  open() {
    const groups = Map.groupBy(this.actions(), ({ group }) => group);
    fill($("help"), headOf("help", "Keyboard"), h("div", { class: "key-groups" }, [...groups].map(groupOf)));
    $("help").showModal();
  }
}

function groupOf([name, actions]) {
  const rows = actions.flatMap(({ id, keys, title }) => [
    h("dt", { dataset: { action: id } }, keys.map((key) => h("kbd", {}, shownKey(key)))),
    h("dd", {}, title),
  ]);
  return h("section", {}, h("h3", {}, name), h("dl", { class: "keys" }, rows));
}

const shownKey = (key) => SYMBOLS[key] ?? key.toUpperCase();
