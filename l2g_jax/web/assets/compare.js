// Two pictures: side by side with their matching points, or one laid over the other.
import { part, count, fail, draw } from "./dom.js";
import { ask, nameOf } from "./api.js";
import { clip, corners, loadPicture, outline, placeTurned, shownSize } from "./picture.js";
import { readQuery, searchAddress, writeQuery } from "./query.js";
import "./status.js";
import "./upload.js";

const COLOURS = ["#ffd400", "#00d5ff", "#ff5cf4", "#7dff5c", "#ff8c3b"];
const PER_PAGE = 30;
const given = new URLSearchParams(location.search);
const query = readQuery();
const image = given.get("image");
const whole = { turn: 0, mirror: false };
let found = null;
let shown = true;
let [mine, other] = [null, null];

// Side by side where there is room, one above the other where there is none.
function drawPair() {
  const stacked = window.innerWidth < 700;
  const fit = ([w, h]) => (stacked ? [500, (500 * h) / w] : [(500 * w) / h, 500]);
  const [w1, h1] = fit(shownSize(mine, query));
  const [w2, h2] = fit(shownSize(other, whole));
  const gap = 16;
  const [left, top] = stacked ? [0, h1 + gap] : [w1 + gap, 0];
  const here = ([x, y]) => [x * w1, y * h1];
  const there = ([x, y]) => [left + x * w2, top + y * h2];
  const lines = found.lines.map(([x1, y1, x2, y2], index) => drawLine(here([x1, y1]), there([x2, y2]), index));
  const label = "Your picture, the result, and lines between matching points. Arrow keys go from line to line.";
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${stacked ? 500 : left + w2} ${stacked ? top + h2 : 500}`, role: "group", tabindex: "0", "aria-label": label, class: "pair" },
    placeTurned(mine, query, [0, 0, w1, h1]),
    placeTurned(other, whole, [left, top, w2, h2]),
    ...(query.box ? [outline(corners(query.box).map(here), "box")] : []),
    ...(found.region ? [outline(clip(found.region).map(there))] : []),
    draw("g", { class: "lines" }, ...lines),
  );
  svg.querySelector(".lines").toggleAttribute("hidden", !part("lines").checked);
  svg.addEventListener("keydown", (event) => choose(event, svg, lines));
  part("drawing").replaceChildren(svg);
}

function drawLine([x1, y1], [x2, y2], index) {
  const line = draw(
    "g",
    { class: "match", stroke: COLOURS[index % COLOURS.length] },
    draw("line", { x1, y1, x2, y2, class: "reach" }),
    draw("line", { x1, y1, x2, y2 }),
    draw("circle", { cx: x1, cy: y1, r: 3.5 }),
    draw("circle", { cx: x2, cy: y2, r: 3.5 }),
  );
  line.addEventListener("pointerenter", () => single(line));
  line.addEventListener("pointerleave", () => single(null));
  return line;
}

// Shows one line alone, or all.
function single(line) {
  const lines = part("drawing").querySelector(".lines");
  lines.classList.toggle("one", line !== null);
  lines.querySelector(".chosen")?.classList.remove("chosen");
  line?.classList.add("chosen");
}

function choose(event, svg, lines) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape") single(null);
  if (!step || !lines.length || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const at = lines.indexOf(svg.querySelector(".chosen"));
  const next = at < 0 && step < 0 ? lines.length - 1 : (at + step + lines.length) % lines.length;
  single(lines[next]);
}

// The transform maps fractions of the query to fractions of the image; both layers have the size of
// the stage, so it becomes one of pixels by that size.
function lay() {
  const [width, height] = shownSize(other, whole);
  const stage = part("stage");
  const across = Math.min(stage.parentElement.clientWidth, (width / height) * window.innerHeight * 0.8);
  const [w, h] = [across, (across * height) / width];
  const box = query.box ?? [0, 0, 1, 1];
  const [x1, y1, x2, y2] = box;
  const base = draw("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img", "aria-label": "The result" }, placeTurned(other, whole, [0, 0, w, h]));
  const inner = placeTurned(mine, query, [x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h], box);
  const over = draw("svg", { id: "warped", viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img", "aria-label": "Your picture, laid over the result" }, inner, outline(corners(box).map(([x, y]) => [x * w, y * h])));
  // Browsers draw what has a positive third coordinate: the transform is known up to its sign.
  const ahead = found.transform[2][0] * (x1 + x2) / 2 + found.transform[2][1] * (y1 + y2) / 2 + found.transform[2][2];
  const [[a, b, c], [d, e, f], [g, i, j]] = found.transform.map((row) => row.map((value) => value / ahead));
  const [p, q, r, s] = [(b * w) / h, (d * h) / w, g / w, i / h];
  over.style.transform = `matrix3d(${[a, q, 0, r, p, e, 0, s, 0, 0, 1, 0, c * w, f * h, 0, j].join(",")})`;
  stage.style.width = `${w}px`;
  stage.style.height = `${h}px`;
  stage.replaceChildren(base, over);
  fade();
}

function fade() {
  const warped = part("warped");
  if (warped) warped.style.opacity = shown ? part("opacity").value / 100 : 0;
  part("blink").textContent = shown ? "Hide your picture" : "Show your picture";
}

function redraw() {
  if (!found) return;
  const over = part("over").checked && found.transform !== null;
  part("beside").hidden = over;
  part("overlay").hidden = !over;
  if (over) lay();
  else drawPair();
}

function agreement() {
  const points = count(found.inliers, "matching point");
  if (found.transform) return `${points} agree on one position` + (found.lines.length < found.inliers ? `; ${found.lines.length} are drawn.` : ".");
  const reason = found.inliers ? `Only ${points} agree on one position, too few to tell from chance` : "No position explains enough matching points";
  return `${reason}. So nothing is framed, and the pictures cannot be laid over one another.`;
}

// The results before and after this one, by the rank that the address tells.
async function neighbours() {
  const rank = Number(given.get("rank"));
  if (!(rank > 0)) return;
  const offset = Math.max(0, rank - 2);
  const { results } = await ask(`/api/search?${writeQuery(query, { offset, limit: rank - offset + 1, regions: 0 })}`);
  for (const [id, next] of [["previous", rank - 1], ["next", rank + 1]]) {
    const result = results.find((one) => one.rank === next);
    if (!result) continue;
    part(id).href = `/compare?${writeQuery(query, { image: result.id, rank: result.rank })}`;
    part(id).hidden = false;
    part(id).title = result.name;
  }
}

async function open() {
  const rank = Number(given.get("rank")) || 1;
  part("back").href = searchAddress({ ...query, page: Math.ceil(rank / PER_PAGE) });
  part("ask").href = `/search?picture=${encodeURIComponent(image)}`;
  part("ask").hidden = false;
  try {
    const asked = writeQuery(query, { image });
    const names = Promise.all([query.picture, image].map(nameOf));
    [found, mine, other] = await Promise.all([
      ask(`/api/compare?${asked}`),
      loadPicture(query.picture, 2048),
      loadPicture(image, 2048),
    ]);
    part("pair").textContent = (await names).join(" and ");
    part("count").textContent = agreement();
    part("over").disabled = found.transform === null;
    redraw();
    await neighbours();
  } catch (error) {
    fail(error);
  }
}

for (const choice of document.getElementsByName("mode")) choice.addEventListener("change", redraw);
part("lines").addEventListener("change", redraw);
part("opacity").addEventListener("input", () => {
  shown = true;
  fade();
});
part("blink").addEventListener("click", () => {
  shown = !shown;
  fade();
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest("input, .pair")) return;
  const to = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
  if (to && !part(to).hidden) part(to).click();
});
window.addEventListener("resize", redraw);
open();
