// Pictures that belong together, with the part they share.
import { part, make, count, fail, fileSize, timeLeft, closable, thumbnail } from "./dom.js";
import { ask, pictureAddress } from "./api.js";
import { framed } from "./picture.js";
import { writeQuery } from "./query.js";
import { follow, workTitle } from "./status.js";
import "./upload.js";

const STEP = 20;
const FORMATS = { csv: "Table (CSV)", json: "Data (JSON)", pairs: "Pairs (pairs.txt)" };
const mirrors = part("mirrors");
const kinds = [...document.getElementsByName("kind")];
let shown = 0;
let timer = null;
let generation = null;

const given = new URLSearchParams(location.search);
mirrors.checked = given.get("mirrors") === "1";
(kinds.find((kind) => kind.value === given.get("kind")) ?? kinds[0]).checked = true;

function asked(more) {
  const kind = kinds.find((choice) => choice.checked).value;
  return new URLSearchParams({ kind, mirrors: mirrors.checked ? "1" : "0", ...more });
}

async function load({ afresh = true } = {}) {
  clearTimeout(timer);
  const offset = afresh ? 0 : shown;
  try {
    const answer = await ask(`/api/groups?${asked({ offset, limit: STEP })}`);
    // Groups of an earlier state may be shown while those of the present one are looked for.
    part("progress").hidden = !answer.work;
    if (answer.work || answer.state !== "ready") {
      wait(answer.work);
      timer = setTimeout(() => load(), 1000);
      if (answer.state !== "ready" || !afresh || answer.generation === generation) return;
    }
    generation = answer.generation;
    if (afresh) part("groups").replaceChildren();
    part("groups").append(...answer.groups.map(card));
    shown = offset + answer.groups.length;
    part("more").hidden = shown >= answer.total;
    if (answer.work) return;
    part("summary").textContent = answer.total
      ? `${count(answer.total, "group")}, the largest first. The frame shows what a picture shares with the one that is suggested to keep.`
      : "No two photographs of this folder belong together in this way.";
  } catch (error) {
    part("progress").hidden = true;
    part("summary").textContent = "";
    fail(error);
  }
}

function wait(work) {
  const bar = part("progress");
  const { title, done, total, seconds_left: seconds } = work ?? {};
  if (total) {
    bar.max = total;
    bar.value = done;
  } else bar.removeAttribute("value");
  const share = total ? `: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  const left = timeLeft(seconds);
  part("summary").textContent = `${workTitle(title ?? "looking for groups")}${share}${left && `, ${left}`}. You may go on searching meanwhile.`;
}

function card(group) {
  const best = group.members.find((member) => member.is_best) ?? group.members[0];
  const title = `${titleOf(group)}: ${count(group.members.length, "picture")}`;
  const tiles = group.members.map((member) => make("li", {}, tile(member, best, group)));
  return make("section", { className: "group", "data-kind": group.kind }, make("h2", {}, title), make("ul", { className: "grid" }, ...tiles));
}

function titleOf({ kind, relations }) {
  if (kind === "object") return "Different pictures of the same thing";
  if (kind === "part") {
    const parts = relations.filter((one) => one.kind === "part");
    if (parts.every((one) => one.is_inset)) return "A picture, and what shows it in small";
    return parts.some((one) => one.is_inset) ? "A picture, parts of it, and what shows it in small" : "A picture and parts of it";
  }
  return kind === "duplicate" ? "The same picture, saved differently" : "The same picture, more than once";
}

function tile(member, best, group) {
  const own = group.relations.find(({ first, second }) => [first, second].includes(member.id) && [first, second].includes(best.id));
  const any = own ?? group.relations.find(({ first, second }) => [first, second].includes(member.id));
  const image = thumbnail(pictureAddress(member.id, 256));
  const is_best = member.id === best.id;
  const framedIn = is_best ? group.relations.filter(({ first, second }) => [first, second].includes(best.id)) : [any];
  const regions = framedIn.map((one) => one && (one.first === member.id ? one.region_first : one.region_second)).filter(Boolean);
  const other = any && group.members.find(({ id }) => id === (any.first === member.id ? any.second : any.first));
  const words = make(
    "span",
    { className: "words" },
    ...(is_best ? [make("span", { className: "badge keep" }, `Suggested to keep: ${reasons(best, group.members)}`)] : []),
    make("span", { className: "name" }, member.name),
    make("span", { className: "soft" }, `${member.width} × ${member.height}, ${fileSize(member.bytes)}`),
    ...(is_best || !any ? [] : [make("span", { className: "soft" }, relation(any, member, other))]),
  );
  const pair = is_best ? other : own ? best : other;
  const href = pair ? `/compare?${comparison(any, pair, member)}` : `/search?picture=${member.id}`;
  return make(
    "a",
    { className: `tile ${is_best ? "best" : ""}`, href, title: pair ? `Compare with ${pair.name}` : member.name },
    make("span", { className: "photo" }, framed(image, regions)),
    words,
  );
}

// The other picture is shown as it lies in this one: turned first, then mirrored.
function comparison(found, pair, member) {
  const turn = found.first === pair.id && !found.mirrored ? found.turn : (360 - found.turn) % 360;
  return writeQuery({ picture: pair.id, box: null, turn, mirror: found.mirrored }, { image: member.id });
}

// Why one would keep it: in what it is ahead of all others.
function reasons(best, members) {
  const others = members.filter((member) => member !== best);
  const ahead = (value) => others.every((member) => value(best) > value(member));
  const told = [
    [(member) => member.width * member.height, "most pixels"],
    [(member) => member.sharpness, "sharpest"],
    [(member) => member.bytes, "largest file"],
  ].filter(([value]) => ahead(value)).map(([, word]) => word);
  return told.join(", ") || "as good as the others";
}

function relation(found, member, other) {
  const name = other.name;
  const isSecond = found.second === member.id;
  const word = {
    "same file": `same file as ${name}`,
    "same pixels": `same pixels as ${name}`,
    duplicate: `same picture as ${name}`,
    part: partWords(found, isSecond, name),
    object: `same thing as in ${name}`,
  }[found.kind] ?? found.kind;
  const turn = isSecond || found.mirrored ? found.turn : (360 - found.turn) % 360;
  const turned = { 90: "turned right", 180: "upside down", 270: "turned left" }[turn];
  return [word, turned, found.mirrored ? "mirrored" : ""].filter(Boolean).join(", ");
}

function partWords({ is_inset, is_within }, isSecond, name) {
  if (!is_within) return `shares a part with ${name}`;
  if (is_inset) return isSecond ? `shown in small in ${name}` : `shows ${name} in small`;
  return isSecond ? `a crop of ${name}` : `shows more than ${name}`;
}

function offer() {
  part("export").replaceChildren(
    ...Object.entries(FORMATS).map(([format, title]) =>
      make("li", {}, make("a", { href: `/api/groups/export?${asked({ format })}`, download: "" }, title)),
    ),
  );
}

for (const choice of [mirrors, ...kinds]) {
  choice.addEventListener("change", () => {
    history.replaceState(null, "", `/groups?${asked()}`);
    generation = null;
    part("groups").replaceChildren();
    offer();
    load();
  });
}
part("more").addEventListener("click", () => load({ afresh: false }));
for (const menu of document.querySelectorAll("details.menu")) closable(menu);
offer();
follow(() => load());
