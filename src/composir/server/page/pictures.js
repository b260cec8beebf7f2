// Pictures of the gallery as elements. With an API key they are fetched with it, for an <img> cannot send one.

import { blob, isKeyed } from "./api.js";
import { h } from "./dom.js";

const KEPT = 300; // fetched pictures
const fetched = new Map(); // address -> promise of a blob's address

/** Where a thumbnail lies; sizes are those of the API. */
export const thumbnailOf = (id, size) => `/v1/images/${id}/thumbnail?size=${size}`;

/** Where the large picture lies. */
export const largeOf = (id) => `/v1/images/${id}`;

/**
 * A picture; one that cannot be shown gets the class "gone".
 * @param {string} id
 * @param {number} size  128, 256, 512 or 1024
 * @param {string} alt   "" where words beside it say the same
 */
export function picture(id, size, alt = "") {
  const image = h("img", { alt, decoding: "async", draggable: "true", dataset: { picture: id } });
  image.addEventListener("error", () => image.classList.add("gone"));
  setSource(image, thumbnailOf(id, size));
  return image;
}

/** Let an <img> show what lies there. */
export async function setSource(image, address) {
  image.classList.remove("gone");
  image.dataset.wanted = address;
  if (!isKeyed()) {
    image.src = address;
    return;
  }
  try {
    const own = await fetchOnce(address);
    if (image.dataset.wanted === address) image.src = own;
  } catch {
    image.classList.add("gone");
  }
}

function fetchOnce(address) {
  if (!fetched.has(address)) {
    const promise = blob(address).then((data) => URL.createObjectURL(data));
    promise.catch(() => fetched.delete(address));
    fetched.set(address, promise);
    if (fetched.size > KEPT) forgetOldest();
  }
  return fetched.get(address);
}

function forgetOldest() {
  const [address, promise] = fetched.entries().next().value;
  fetched.delete(address);
  promise.then((own) => setTimeout(() => URL.revokeObjectURL(own), 60_000)).catch(() => {});
}
