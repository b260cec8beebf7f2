// Which writing words are in: most backbones have learned from English alone and read other scripts as noise.

const SCRIPTS = [
  ["Chinese", /\p{Script=Han}/u],
  ["Japanese", /[\p{Script=Hiragana}\p{Script=Katakana}]/u],
  ["Korean", /\p{Script=Hangul}/u],
  ["Cyrillic", /\p{Script=Cyrillic}/u],
  ["Arabic", /\p{Script=Arabic}/u],
  ["Hebrew", /\p{Script=Hebrew}/u],
  ["Greek", /\p{Script=Greek}/u],
  ["Devanagari", /\p{Script=Devanagari}/u],
  ["Thai", /\p{Script=Thai}/u],
];
const OTHER = /[^\P{L}\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]/u; // a letter, and not a Latin one

/**
 * The script of words that are not (all) in Latin letters, else null. Japanese is told before Chinese, for it has both.
 * @param {string} text
 * @returns {string|null}
 */
export function foreignScript(text) {
  if (!OTHER.test(text)) return null;
  const found = SCRIPTS.filter(([, letters]) => letters.test(text)).map(([name]) => name);
  return found.find((name) => name !== "Chinese") ?? found[0] ?? "non-Latin";
}
