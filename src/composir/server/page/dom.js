// Elements without markup: text is always text, whatever a caption or a file name holds.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag
 * @param {Object<string, *>} attributes  "onclick" and the like take functions, "dataset" an object; null leaves out
 * @param {...(Node|string|null|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) assign(element, name, value);
  element.append(...present(children));
  return element;
}

/** Put these children in the place of all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** The element of the page with that id. */
export const $ = (id) => document.getElementById(id);

/** A drawing of icons.svg, hidden from readers: what it stands for is said by the control. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * A button that shows an icon and is named by words.
 * @param {string} drawing  of icons.svg
 * @param {string} label    said by readers and shown as a tip
 * @param {function(Event): void} onclick
 * @param {Object<string, *>} more  further attributes
 */
export function iconButton(drawing, label, onclick, more = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(drawing));
}

/** Show or hide. */
export function show(element, visible) {
  element.hidden = !visible;
}

/** Whether a person types into this element, so that letters are no commands. */
export function takesText(element) {
  if (!element) return false;
  if (element.isContentEditable || element.matches?.("textarea, select")) return true;
  return element.matches?.("input") && !["checkbox", "radio", "button", "range"].includes(element.type);
}

function assign(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else element.setAttribute(name, value === true ? "" : value);
}

function present(children) {
  return children.flat(2).filter((child) => child !== null && child !== undefined && child !== false);
}
