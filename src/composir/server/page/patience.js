// What will do later is asked again later: after Retry-After seconds, or when the server is back.

import { isAlive, Problem } from "./api.js";

const KNOCK = 1500; // milliseconds between looks for a server that is gone
const LONGEST = 120; // seconds

/**
 * Ask until there is an answer, or a problem that does not pass.
 * @template T
 * @param {function(): Promise<T>} ask
 * @param {AbortSignal|undefined} signal
 * @param {function({problem: Problem, seconds: number|null, now: function(): void}): void} told
 *   about each wait, every second; `seconds` is null while the server is gone, `now()` ends the wait
 * @returns {Promise<T>}
 */
export async function patiently(ask, signal, told) {
  for (;;) {
    try {
      return await ask();
    } catch (problem) {
      if (!(problem instanceof Problem) || !problem.passing) throw problem;
      await passed(problem, signal, told);
    }
  }
}

async function passed(problem, signal, told) {
  let skip = () => {};
  const skipped = new Promise((resolve) => (skip = () => resolve(true)));
  const wait = (milliseconds) => Promise.race([sleep(milliseconds, signal), skipped]);
  if (problem.status === 0) {
    do {
      told({ problem, seconds: null, now: skip });
    } while (!(await wait(KNOCK)) && !(await isAlive()));
    return;
  }
  for (let seconds = Math.min(LONGEST, Math.max(1, Math.ceil(problem.seconds))); seconds > 0; seconds--) {
    told({ problem, seconds, now: skip });
    if (await wait(1000)) return;
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException("no longer wanted", "AbortError"));
    if (signal?.aborted) return stop();
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve(false);
    }, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), stop()), { once: true });
  });
}
