// The query, its box, and what is found.
import { part, make, count, share, fail, recover, closable, thumbnail } from "./dom.js";
import { ask, pictureAddress } from "./api.js";
import { follow } from "./status.js";
import { boxEditor } from "./box.js";
import { framed, loadPicture } from "./picture.js";
import { mirrored, readQuery, searchAddress, turned, writeQuery } from "./query.js";
import "./upload.js";

const PER_PAGE = 30;
const NOT_YET = 503;
const FORMATS = { csv: "Table (CSV)", json: "Data (JSON)", sheet: "Contact sheet (picture)", html: "Web page (HTML)", pairs: "Pairs for COLMAP (pairs.txt)" };
const RANKS = "Ranks by details alone (the local stage) and by the whole picture alone (the global stage)";
const numbers = part("numbers").elements;
let query = readQuery();
let picture = null;
let asking = null;
let generation = null;
let searched = 0;
// Whether a search waits for the first photographs to be taken in.
let waits = false;

const editor = boxEditor(part("picture"), { changed: fillNumbers, finished: (box) => go({ box, page: 1 }) });

function fillNumbers(box) {
  const values = box ?? [0, 0, 1, 1];
  ["x1", "y1", "x2", "y2"].forEach((name, at) => { numbers[name].value = (values[at] * 100).toFixed(1); });
  part("clear").disabled = !box;
}

// A new address for a new search, so that the browser's way back works.
function go(changes) {
  query = { ...query, ...changes };
  if (searchAddress(query) !== location.pathname + location.search) history.pushState(null, "", searchAddress(query));
  open();
}

async function open() {
  if (!query.picture) {
    fail(new Error("No picture is chosen yet. Choose one on the first page."));
    return;
  }
  awaitResults();
  try {
    if (picture?.id !== query.picture) {
      picture = null;
      picture = await loadPicture(query.picture);
      describe();
    }
    showTools(true);
    editor.show(picture, query);
    fillNumbers(query.box);
    part("mirror").setAttribute("aria-pressed", query.mirror);
    part("to-map").href = `/map?${writeQuery(query)}`;
    offer();
    await search();
  } catch (error) {
    if (!picture) showTools(false);
    fail(error);
  }
}

// There is nothing to do with a picture that cannot be read.
function showTools(isReadable) {
  for (const tool of document.querySelectorAll(".tool")) tool.hidden = !isReadable;
  if (isReadable) return;
  part("query-name").textContent = "No picture";
  part("notes").textContent = "";
  part("results").replaceChildren();
  part("results").removeAttribute("aria-busy");
}

async function describe() {
  const { name, notes } = await ask(`/api/images/${encodeURIComponent(query.picture)}`).catch(() => ({}));
  part("query-name").textContent = name || "Your picture";
  part("notes").textContent = [notes ?? []].flat().join(" ");
}

function awaitResults() {
  part("results").setAttribute("aria-busy", "true");
  part("results").classList.add("stale");
}

// First the results, then where in them the part lies, which takes as long again.
async function search() {
  asking?.abort();
  asking = new AbortController();
  recover();
  part("changed").hidden = true;
  awaitResults();
  part("summary").textContent = "Searching …";
  const page = { offset: (query.page - 1) * PER_PAGE, limit: PER_PAGE };
  const { signal } = asking;
  let isShown = false;
  try {
    show(await ask(`/api/search?${writeQuery(query, { ...page, regions: 0 })}`, { signal }));
    isShown = true;
    const answer = await ask(`/api/search?${writeQuery(query, page)}`, { signal });
    if (answer.generation !== generation) show(answer);
    locate(answer);
    part("results").removeAttribute("aria-busy");
  } catch (error) {
    if (error.name === "AbortError") return;
    part("results").removeAttribute("aria-busy");
    part("results").classList.remove("stale");
    waits = !isShown && error.status === NOT_YET;
    if (!isShown) {
      part("results").replaceChildren();
      part("pages").hidden = true;
      part("summary").textContent = waits ? `${error.message} The search starts by itself then.` : "";
    }
    if (!waits) fail(error);
  }
}

const sought = () => (query.box ? "your part" : "something of your picture");
const told = (answer) => `${share(answer.num_images, answer.num_expected)} searched in ${answer.seconds.toFixed(1)} s. `;

// Frames the part in the results that are shown already.
function locate(answer) {
  const matched = answer.results.filter((result) => result.region).length;
  part("summary").textContent =
    told(answer) +
    (matched ? `On this page, ${sought()} was found in ${matched} of ${answer.results.length}; it is framed.` : `On this page, no picture surely shows ${sought()}.`);
  const items = part("results").children;
  answer.results.forEach((result, at) => {
    items[at].querySelector(".points").textContent = result.region ? count(result.inliers, "point") : "part not located";
    if (!result.region) return;
    items[at].querySelector(".tile").classList.add("matched");
    const photo = items[at].querySelector(".photo");
    photo.replaceChildren(framed(photo.querySelector(".framed").firstChild, [result.region]));
  });
}

function show(answer) {
  part("summary").textContent = `${told(answer)}Looking for ${sought()} in them …`;
  part("remarks").replaceChildren(...answer.remarks.map((remark) => make("li", {}, remark)));
  part("results").replaceChildren(...answer.results.map(card));
  part("results").classList.remove("stale");
  part("results").start = answer.results[0]?.rank ?? 1;
  const last = Math.max(1, Math.ceil(answer.total / PER_PAGE));
  part("pages").hidden = last < 2;
  part("page").textContent = `Page ${query.page} of ${last.toLocaleString("en")}`;
  part("previous").disabled = query.page <= 1;
  part("next").disabled = query.page >= last;
  generation = answer.generation;
  searched = answer.num_images;
}

function card(result) {
  const image = thumbnail(pictureAddress(result.id, 256));
  const words = make(
    "span",
    { className: "words" },
    make("span", { className: "head" }, make("b", {}, `${result.rank}`), ...(result.copy ? [make("span", { className: "badge" }, result.copy)] : [])),
    make("span", { className: "name" }, result.name),
    make("span", { className: "soft", title: RANKS }, `details ${result.ranks.chamfer} · whole ${result.ranks.global}`),
    make("span", { className: "soft" }, `${result.score === null ? "no score" : `score ${result.score.toFixed(3)}`} · `, make("span", { className: "points" }, "…")),
  );
  const open = make(
    "a",
    { className: "tile", href: `/compare?${writeQuery(query, { image: result.id, rank: result.rank })}`, title: `Compare with ${result.name}` },
    make("span", { className: "photo" }, framed(image, [])),
    words,
  );
  const ask = make("a", { className: "small", href: `/search?picture=${result.id}`, "aria-label": `Search with ${result.name}` }, "Search with this picture");
  return make("li", {}, open, ask);
}

function offer() {
  const limit = Math.max(1, Math.min(1000, Math.floor(Number(part("export-limit").value)) || 100));
  part("export").replaceChildren(
    ...Object.entries(FORMATS).map(([format, title]) =>
      make("li", {}, make("a", { href: `/api/export?${writeQuery(query, { format, limit })}`, download: "" }, title)),
    ),
  );
}

part("left").addEventListener("click", () => go(turned(query, false)));
part("right").addEventListener("click", () => go(turned(query, true)));
part("mirror").addEventListener("click", () => go(mirrored(query)));
part("clear").addEventListener("click", () => go({ box: null, page: 1 }));
part("again").addEventListener("click", search);
part("export-limit").addEventListener("input", offer);
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  part(id).addEventListener("click", () => {
    go({ page: query.page + step });
    part("found-title").scrollIntoView();
  });
}
part("numbers").addEventListener("submit", (event) => {
  event.preventDefault();
  const box = ["x1", "y1", "x2", "y2"].map((name) => Number(numbers[name].value) / 100);
  if (box[0] < box[2] && box[1] < box[3]) go({ box, page: 1 });
  else fail(new Error("Left must be less than right, and top less than bottom."));
});
window.addEventListener("popstate", () => {
  query = readQuery();
  open();
});
for (const menu of document.querySelectorAll("details.menu")) closable(menu);
follow((status) => {
  if (waits && status.num_images) {
    waits = false;
    search();
  }
  if (generation === null) return;
  part("changed").hidden = generation === status.generation;
  const now = status.num_images;
  part("changed-text").textContent =
    now > searched
      ? `More photographs can be searched now: ${share(now, status.num_expected)}; this search looked at ${searched.toLocaleString("en")}.`
      : "The photographs of the folder have changed since this search.";
});
open();
