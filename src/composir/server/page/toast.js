// Short words about what was just done, for eyes and for readers.

import { $ } from "./dom.js";

let timer = 0;

/** Say something that needs no answer. */
export function say(text) {
  const place = $("toast");
  clearTimeout(timer);
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = text;
    place.classList.add("up");
  });
  timer = setTimeout(() => place.classList.remove("up"), 3500);
}
