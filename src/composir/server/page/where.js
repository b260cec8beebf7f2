// Filters over the gallery's columns as the SQL that the server takes. The only place where SQL is written.

/** What can be asked of a column of each kind, with the words on the page and how many values it takes. */
export const OPERATIONS = {
  text: [
    { op: "has", label: "contains", values: 1 },
    { op: "is", label: "is", values: 1 },
    { op: "not", label: "is not", values: 1 },
  ],
  number: [
    { op: "range", label: "between", values: 2 },
    { op: "eq", label: "equals", values: 1 },
  ],
  boolean: [
    { op: "yes", label: "is true", values: 0 },
    { op: "no", label: "is false", values: 0 },
  ],
};

const NUMERIC = ["eq", "range"]; // the operations that take numbers
const NUMBER = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?$/i;
const THOUSANDS = /^[+-]?[1-9]\d{0,2},\d{3}$/;

/**
 * The kind of a column by its type in /v1/gallery; null for what filters cannot be built for.
 * @param {string} type  e.g. "number", "integer", "text", "boolean"
 * @returns {"text"|"number"|"boolean"|null}
 */
export function kindOf(type) {
  const name = type.toLowerCase();
  if (/^(large_)?(text|string|utf8)/.test(name)) return "text";
  if (/^(number|integer|double|decimal|(u?int|float)\d*)/.test(name)) return "number";
  return /^bool/.test(name) ? "boolean" : null;
}

/** A column's name as SQL. A name with a backtick cannot be written; such columns are not offered. */
export const quoteColumn = (name) => "`" + name + "`";

/** Text as SQL. */
export const quoteText = (text) => `'${text.replaceAll("'", "''")}'`;

/** Columns that filters can be built for: [name, kind]. */
export function usable(columns) {
  const named = Object.entries(columns).filter(([name]) => !name.includes("`"));
  return named.map(([name, type]) => [name, kindOf(type)]).filter(([, kind]) => kind !== null);
}

/**
 * What is wrong with a number as it was typed, for people; "" for nothing, and where nothing is typed. One comma is the
 * decimal point, but not before three digits, where it may part thousands: which is meant is not guessed.
 */
export function faultOf(text) {
  const typed = text.trim();
  if (THOUSANDS.test(typed)) return `“${typed}” can mean ${typed.replace(",", "")} or ${typed.replace(",", ".")}: write the one that is meant.`;
  const read = typed === "" || (NUMBER.test(typed) && Number.isFinite(Number(typed.replace(",", "."))));
  return read ? "" : `“${typed}” is no number. Write digits with one decimal point at most, such as 1234.5.`;
}

/** What is wrong with each value of a filter. */
export const faultsOf = ({ op, values }) => values.map((value) => (NUMERIC.includes(op) ? faultOf(value) : ""));

/** Whether something typed into one of the filters cannot be read; it asks for nothing meanwhile. */
export const isUnread = (filters) => filters.some((filter) => faultsOf(filter).some(Boolean));

/**
 * All filters as one condition.
 * @param {import("./query.js").Filter[]} filters  those that are not filled in ask for nothing
 * @param {string} raw  written by hand
 * @returns {string}  "" for none
 */
export function whereOf(filters, raw = "") {
  const parts = filters.map(condition).filter(Boolean);
  const own = raw.trim();
  if (own) parts.push(parts.length ? `(${own})` : own);
  return parts.join(" AND ");
}

/** One filter as SQL, "" where it is not filled in. */
export function condition({ column, op, values }) {
  const name = quoteColumn(column);
  const [first = "", second = ""] = values.map((value) => value.trim());
  switch (op) {
    case "yes":
      return `${name} = true`;
    case "no":
      return `${name} = false`;
    case "is":
      return first && `${name} = ${quoteText(first)}`;
    case "not":
      return first && `${name} <> ${quoteText(first)}`;
    case "has":
      return first && `lower(${name}) LIKE ${quoteText(`%${literal(first.toLowerCase())}%`)}`;
    case "eq":
      return number(first) && `${name} = ${number(first)}`;
    case "range":
      return range(name, number(first), number(second));
    default:
      return "";
  }
}

function range(name, low, high) {
  const parts = [low && `${name} >= ${low}`, high && `${name} <= ${high}`];
  return parts.filter(Boolean).join(" AND ");
}

/** A number as SQL, digit by digit as it was typed; "" for what is none. */
const number = (text) => (faultOf(text) ? "" : text.replace(",", ".").replace("+", ""));

/** Text in which % and _ stand for themselves. */
const literal = (text) => text.replace(/[\\%_]/g, (letter) => `\\${letter}`);
