// How a picture gets in: dropped, pasted, picked, or named by an address. What it is called afterwards is an id.

import { post, upload } from "./api.js";
import { DRAGGED } from "./grid.js";
import { isId } from "./packing.js";

const OWN = /^\/v1\/images\/([0-9a-f]{32})(\/thumbnail)?$/;

/**
 * What a drop or a paste brings, the best first.
 * @param {DataTransfer} data
 * @returns {{id: string}|{file: File}|{url: string}|null}
 */
export function pictureIn(data) {
  const own = data.getData(DRAGGED);
  if (isId(own)) return { id: own };
  const link = data.getData("text/uri-list") || data.getData("text/plain");
  const address = addressOf(link.split("\n").find((line) => line && !line.startsWith("#")) ?? "");
  const known = address?.origin === location.origin && OWN.exec(address.pathname);
  if (known) return { id: known[1] };
  const file = [...data.files].find(({ type }) => type.startsWith("image/")) ?? data.files[0];
  if (file) return { file };
  if (address?.protocol === "data:") return inside(address.href);
  return address ? { url: address.href } : null;
}

/** Whether something that is dragged over the page may be a picture. */
export function mayBePicture(data) {
  return ["Files", "text/uri-list", DRAGGED].some((type) => data.types.includes(type));
}

/** Send a file with the words it is to be searched with, once; its id. */
export async function sendFile(file, text, method, signal) {
  const form = new FormData();
  form.append("image", file, "picture");
  form.append("k", "1");
  if (text) form.append("text", text);
  if (method) form.append("method", method);
  return (await upload("/v1/search", form, signal)).reference;
}

/** Let the server fetch a picture from the web; its id. */
export async function sendAddress(url, text, method, signal) {
  const body = { reference: { url }, text, k: 1, ...(method ? { method } : {}) };
  return (await post("/v1/search", body, signal)).reference;
}

function addressOf(text) {
  try {
    const address = new URL(text.trim());
    return ["http:", "https:", "data:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

/** The file in a data: address, which the page's policy lets nobody fetch. */
function inside(address) {
  const [, type, data] = /^data:(image\/[\w.+-]+);base64,(.+)$/.exec(address) ?? [];
  if (!data) return null;
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return { file: new File([bytes], "picture", { type }) };
}
