// The loaded hits as a file.

import { $, fill, h } from "./dom.js";
import { closeBeside, headOf } from "./dialogs.js";
import { say } from "./toast.js";

const FIXED = ["rank", "id", "path", "score"];

/** The dialog that saves JSON or CSV. */
export class Export {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    closeBeside("export");
    $("open-export").addEventListener("click", () => this.open());
  }

  /** Open it; false if nothing is loaded. */
  open() {
    const { hits } = this.app.columns.main;
    if (!hits.length) return say("There are no results to export yet."), false;
    const choice = (label, told, run) =>
      h("button", { type: "button", class: "choice", onclick: () => (run(), $("export").close()) }, h("b", {}, label), h("span", {}, told));
    fill(
      $("export"),
      headOf("export", "Export", `${hits.length} loaded`),
      choice("JSON", "the query, and each result with all that is known of it", () => this.#json()),
      choice("CSV", "a row for each result, for a spreadsheet", () => this.#csv()),
    );
    $("export").showModal();
    return true;
  }

  #json() {
    const { answer, asked: query, hits } = this.app.columns.main;
    const { gallery } = this.app;
    const told = { gallery: gallery.name, gallery_version: answer.gallery_version, method: answer.method, query, total: answer.total, hits: hits.map(plain) };
    save("results.json", "application/json", JSON.stringify(told, null, 2));
  }

  #csv() {
    save("results.csv", "text/csv", tableOf(this.app.columns.main.hits.map(plain)));
  }
}

/**
 * Hits as comma-separated values.
 * @param {Object[]} hits
 */
export function tableOf(hits) {
  const names = (part) => [...new Set(hits.flatMap((hit) => Object.keys(hit[part] ?? {})))];
  const [why, metadata] = [names("why"), names("metadata")];
  const head = [...FIXED, ...why.map((name) => `why.${name}`), ...metadata];
  const rows = hits.map((hit) => [
    ...FIXED.map((name) => hit[name]),
    ...why.map((name) => hit.why?.[name]),
    ...metadata.map((name) => hit.metadata?.[name]),
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** One value; text that a spreadsheet would run as a formula is kept from it. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function plain({ unfolded, ...hit }) {
  return hit;
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  say(`Saved ${name}.`);
}
