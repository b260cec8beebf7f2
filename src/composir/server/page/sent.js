// Files that this page has sent: the server forgets the oldest uploads, and is sent them again when it has.

import { post } from "./api.js";
import { sendFile } from "./intake.js";

const KEPT = 16; // files
const files = new Map(); // id -> file, the latest last

/** Remember a file under the id that the server gave it. */
export function remember(id, file) {
  files.delete(id);
  files.set(id, file);
  if (files.size > KEPT) files.delete(files.keys().next().value);
}

/**
 * Search; an upload that the server does not have any more is sent once more, if this page has its file.
 * @param {Object} body  of /v1/search
 * @param {AbortSignal} signal
 */
export async function search(body, signal) {
  try {
    return await post("/v1/search", body, signal);
  } catch (problem) {
    const file = files.get(body.reference?.id);
    if (problem.status !== 404 || !file) throw problem;
    await sendFile(file, body.text, body.method, signal).catch((second) => {
      throw second.status === 0 ? problem : second; // the file cannot be read any more
    });
    return post("/v1/search", body, signal);
  }
}
