// The collection as a grid that grows as one scrolls.
import { part, make, count, fail, thumbnail } from "./dom.js";
import { ask, pictureAddress } from "./api.js";
import { follow } from "./status.js";
import "./upload.js";

const STEP = 60;
const shown = new Map();
let [total, unreadable, wanted] = [0, 0, STEP];
let asking = null;
let waiting = null;

function tile({ id, name }) {
  const image = thumbnail(pictureAddress(id, 256));
  const link = make("a", { className: "tile", href: `/search?picture=${id}`, title: name }, make("span", { className: "photo" }, image), make("span", { className: "words" }, name));
  return make("li", {}, link);
}

// Asks for all that should be shown; tiles that stay are kept, so that nothing flickers.
async function load() {
  asking?.abort();
  asking = new AbortController();
  const text = part("text").value.trim();
  try {
    const found = [];
    do {
      const asked = new URLSearchParams({ offset: found.length, limit: STEP, text });
      const answer = await ask(`/api/images?${asked}`, { signal: asking.signal });
      found.push(...answer.images);
      [total, unreadable] = [answer.total, answer.num_unreadable];
      if (!answer.images.length) break;
    } while (found.length < Math.min(wanted, total));
    const tiles = found.map((image) => {
      if (!shown.has(image.id)) shown.set(image.id, tile(image));
      return shown.get(image.id);
    });
    const kept = new Set(tiles);
    for (const old of [...part("collection").children]) if (!kept.has(old)) old.remove();
    tiles.forEach((item, at) => {
      const there = part("collection").children[at];
      if (there !== item) part("collection").insertBefore(item, there ?? null);
    });
    part("more").hidden = found.length >= total;
    part("count").textContent = text || total ? count(total - unreadable, "photograph") + (unreadable ? ` and ${count(unreadable, "file")} that cannot be read` : "") + (text ? ` with “${text}” in the name` : "") : "";
    watch();
  } catch (error) {
    fail(error);
  }
}

function more() {
  wanted = part("collection").children.length + STEP;
  load();
}

// An observer tells of a change alone: it is set anew, lest the button stay in view unnoticed.
const observer = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) more();
}, { rootMargin: "300px" });

function watch() {
  observer.disconnect();
  if (!part("more").hidden) observer.observe(part("more"));
}

part("more").addEventListener("click", more);
part("text").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    wanted = STEP;
    load();
  }, 200);
});
follow((status) => {
  part("folder").textContent = status.folder;
  load();
});
