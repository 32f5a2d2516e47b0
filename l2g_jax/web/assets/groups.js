// Pictures that belong together, with the part they share.
import { part, make, count, fail, fileSize, timeLeft, closable, thumbnail } from "./dom.js";
import { ask, pictureAddress } from "./api.js";
import { framed } from "./picture.js";
import { follow } from "./status.js";
import "./upload.js";

const STEP = 20;
const KINDS = {
  "same file": "The same file, more than once",
  "same pixels": "The same picture, more than once",
  duplicate: "The same picture, saved differently",
  part: "A picture and crops of it",
  object: "Different pictures of the same thing",
};
const FORMATS = { csv: "Table (CSV)", json: "Data (JSON)", pairs: "Pairs (pairs.txt)" };
const mirrors = part("mirrors");
let shown = 0;
let timer = null;

mirrors.checked = new URLSearchParams(location.search).get("mirrors") === "1";

async function load({ afresh = true } = {}) {
  clearTimeout(timer);
  const offset = afresh ? 0 : shown;
  const asked = new URLSearchParams({ mirrors: mirrors.checked ? "1" : "0", offset, limit: STEP });
  try {
    const answer = await ask(`/api/groups?${asked}`);
    const working = answer.state !== "ready";
    part("progress").hidden = !working;
    if (working) {
      wait(answer.work);
      timer = setTimeout(load, 1000);
      return;
    }
    if (afresh) part("groups").replaceChildren();
    part("groups").append(...answer.groups.map(card));
    shown = offset + answer.groups.length;
    part("more").hidden = shown >= answer.total;
    part("summary").textContent = answer.total
      ? `${count(answer.total, "group")}, the largest first. The frame shows what a picture shares with the one that is suggested to keep.`
      : "No two photographs of this folder belong together.";
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
  part("summary").textContent = `${title ?? "Looking for groups"}${share}${left && `, ${left}`}. You may go on searching meanwhile.`;
}

function card(group) {
  const best = group.members.find((member) => member.is_best) ?? group.members[0];
  const title = `${KINDS[group.kind] ?? group.kind}: ${count(group.members.length, "picture")}`;
  const tiles = group.members.map((member) => make("li", {}, tile(member, best, group)));
  return make("section", { className: "group", "data-kind": group.kind }, make("h2", {}, title), make("ul", { className: "grid" }, ...tiles));
}

function tile(member, best, group) {
  const own = group.relations.find(({ first, second }) => [first, second].includes(member.id) && [first, second].includes(best.id));
  const any = own ?? group.relations.find(({ first, second }) => [first, second].includes(member.id));
  const region = any && (any.first === member.id ? any.region_first : any.region_second);
  const image = thumbnail(pictureAddress(member.id, 256));
  const is_best = member.id === best.id;
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
  const href = pair ? `/compare?${new URLSearchParams({ picture: pair.id, image: member.id })}` : `/search?picture=${member.id}`;
  return make(
    "a",
    { className: `tile ${is_best ? "best" : ""}`, href, title: pair ? `Compare with ${pair.name}` : member.name },
    make("span", { className: "photo" }, framed(image, region ? [region] : [])),
    words,
  );
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
    part: isSecond ? `a crop of ${name}` : `shows more than ${name}`,
    object: `same thing as in ${name}`,
  }[found.kind] ?? found.kind;
  return [word, found.turn ? `turned by ${found.turn}°` : "", found.mirrored ? "mirrored" : ""].filter(Boolean).join(", ");
}

function offer() {
  part("export").replaceChildren(
    ...Object.entries(FORMATS).map(([format, title]) => {
      const asked = new URLSearchParams({ format, mirrors: mirrors.checked ? "1" : "0" });
      return make("li", {}, make("a", { href: `/api/groups/export?${asked}`, download: "" }, title));
    }),
  );
}

mirrors.addEventListener("change", () => {
  history.replaceState(null, "", mirrors.checked ? "/groups?mirrors=1" : "/groups");
  offer();
  load();
});
part("more").addEventListener("click", () => load({ afresh: false }));
for (const menu of document.querySelectorAll("details.menu")) closable(menu);
offer();
follow(() => load());
