// The server's API: one error for whatever goes wrong, and the API key where one is needed.

const KEPT = "composir.key";
let key = sessionStorage.getItem(KEPT);
let asking = null;
let askForKey = async () => null;

/** Whatever went wrong with a request. */
export class Problem extends Error {
  /**
   * @param {Object} told
   * @param {number} told.status       0 when the server was not reached
   * @param {string} told.code         stable
   * @param {string} told.message      for people
   * @param {string} [told.requestId]  finds it in the server's log
   * @param {number} [told.seconds]    to stay away
   */
  constructor({ status, code, message, requestId = "", seconds = 0 }) {
    super(message);
    Object.assign(this, { status, code, requestId, seconds });
  }

  /** Whether the same request will do later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

/** Let `ask(wasWrong)` get a key from the person when the server wants one; null gives up. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Whether pictures must be fetched with a key. */
export const isKeyed = () => key !== null;

/** GET; an answer in JSON. */
export const get = (path, signal) => json(path, { signal });

/** POST of JSON; an answer in JSON. */
export function post(path, body, signal) {
  return json(path, { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** POST of a form with a file; an answer in JSON. */
export const upload = (path, form, signal) => json(path, { method: "POST", signal, body: form });

/** GET of a file. */
export const blob = async (path, signal) => (await request(path, { signal })).blob();

/** Whether the server is alive. */
export async function isAlive() {
  try {
    return (await fetch("/livez", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

async function json(path, init) {
  return (await request(path, init)).json();
}

async function request(path, init) {
  for (;;) {
    const used = key;
    const response = await reach(path, init, used);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status !== 401 || !(await renewed(used))) throw problem;
  }
}

async function reach(path, init, used) {
  const headers = { ...init.headers, ...(used === null ? {} : { Authorization: `Bearer ${used}` }) };
  try {
    return await fetch(path, { ...init, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, code: "gone", message: "The server cannot be reached." });
  }
}

async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  const requestId = response.headers.get("X-Request-ID") ?? "";
  const { status } = response;
  try {
    const { error } = await response.json();
    return new Problem({ status, code: error.code, message: error.message, requestId: error.request_id, seconds });
  } catch {
    return new Problem({ status, code: "unknown", message: `The server answered with ${status}.`, requestId, seconds });
  }
}

/** Get another key than the one that was refused; requests that fail together ask once. */
async function renewed(refused) {
  if (key === refused) {
    asking ??= askForKey(refused !== null).finally(() => (asking = null));
    const given = await asking;
    if (given === null) return false;
    key = given;
    sessionStorage.setItem(KEPT, key);
  }
  return true;
}
