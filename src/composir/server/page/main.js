// The beginning: what is served, what the address holds, then the page.

import { get, onKeyNeeded } from "./api.js";
import { Address } from "./address.js";
import { App } from "./app.js";
import { emptyState } from "./codec.js";
import { $, fill, h, iconButton } from "./dom.js";
import { askForKey } from "./keydialog.js";
import { failure, sentence, waiting } from "./messages.js";
import { patiently } from "./patience.js";
import { counted } from "./summary.js";
import { Session } from "./session.js";
import { Store } from "./store.js";

onKeyNeeded(askForKey);
begin();

async function begin() {
  const place = $("columns");
  try {
    const ask = () => Promise.all([get("/v1/gallery"), get("/v1/methods")]);
    const [gallery, { methods }] = await patiently(ask, undefined, (wait) => fill(place, waiting(wait)));
    fill(place, null);
    await open(gallery, methods);
  } catch (problem) {
    fill(place, failure(problem, begin));
  }
}

async function open(gallery, methods) {
  const store = new Store(emptyState());
  const address = new Address(store, notice);
  const app = new App(store, new Session(store, address), gallery, methods);
  $("served").textContent = `${gallery.name} · ${counted(gallery.pictures)}`;
  document.title = `${gallery.name} · composir`;
  const linked = new URLSearchParams(location.search);
  const early = $("words").value; // typed before the page was ready
  store.set(known(address.read(), methods));
  if (early.trim() && store.state.trail.current === null) app.words.write(early);
  if (linked.has("reference_path") || linked.has("text")) await follow(app, linked);
}

/** A state without methods that this server does not have. */
function known({ trail, view }, methods) {
  const strange = [view.method, view.second].filter((name) => name && !methods.some((method) => method.name === name));
  if (!strange.length) return { trail, view };
  notice(`This link names the method ${strange.join(" and ")}, which this server does not have. Its own is shown.`);
  const keep = (name) => (strange.includes(name) ? null : name);
  return { trail, view: { ...view, method: keep(view.method), second: keep(view.second) } };
}

/** A link of a report: a picture by its path, and words. */
async function follow({ session }, linked) {
  const path = linked.get("reference_path");
  try {
    if (path) session.moreLike((await get(`/v1/pictures?path=${encodeURIComponent(path)}`)).id);
  } catch (problem) {
    notice(`The picture of this link was not found. ${sentence(problem.message)}`);
  }
  if (linked.get("text")) session.say(linked.get("text"));
}

/** Something that the person should know, until put away. */
function notice(text) {
  const box = h("div", { class: "notice", role: "alert" }, h("p", {}, text));
  box.append(iconButton("close", "Put this notice away", () => box.remove()));
  $("notices").append(box);
}
