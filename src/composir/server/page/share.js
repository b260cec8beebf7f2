// A link to all of this: the address has the whole trail.

import { say } from "./toast.js";

/** Copy the address; where the browser does not let us, say how. */
export async function copyLink(session) {
  session.settle();
  session.address.flush();
  try {
    await navigator.clipboard.writeText(location.href);
    say("Link copied: trail, controls and view are in it.");
  } catch {
    say("The browser does not let the page copy. The address bar has the link.");
  }
}
