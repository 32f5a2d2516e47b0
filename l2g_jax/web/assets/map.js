// The best results as points of a plane, each with its picture.
import { part, draw, count, fail } from "./dom.js";
import { ask, pictureAddress } from "./api.js";
import { loadPicture, placeTurned, shownSize } from "./picture.js";
import { readQuery, searchAddress, writeQuery } from "./query.js";
import "./status.js";
import "./upload.js";

const svg = part("map");
const query = readQuery();
const view = { x: 0, y: 0, scale: 1 };
const pointers = new Map();
let nodes = [];
let moved = 0;

const side = () => (svg.clientWidth < 600 ? 44 : 64);
const unit = () => (Math.min(svg.clientWidth, svg.clientHeight) / 2 - side()) * view.scale;

// Pictures keep their size when one goes nearer, so that those that overlap come apart.
function arrange() {
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const { element, point } of nodes) {
    const [x, y] = [(point.x - view.x) * unit() + width / 2, (point.y - view.y) * unit() + height / 2];
    element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  }
}

// Goes nearer or farther by a factor; the place under (x, y), pixels of the map, stays there.
function zoom(factor, x = svg.clientWidth / 2, y = svg.clientHeight / 2) {
  const [dx, dy] = [x - svg.clientWidth / 2, y - svg.clientHeight / 2];
  const before = unit();
  view.scale = Math.min(60, Math.max(0.5, view.scale * factor));
  view.x += dx / before - dx / unit();
  view.y += dy / before - dy / unit();
  arrange();
}

function pan(dx, dy) {
  view.x -= dx / unit();
  view.y -= dy / unit();
  arrange();
}

function node(point, picture) {
  const s = side();
  if (point.id === null) {
    const [w, h] = shownSize(picture, query);
    const box = query.box ?? [0, 0, 1, 1];
    const [across, down] = [(box[2] - box[0]) * w, (box[3] - box[1]) * h];
    const scale = (s * 1.3) / Math.max(across, down);
    const rect = [-across * scale / 2, -down * scale / 2, across * scale, down * scale];
    const frame = { x: rect[0], y: rect[1], width: rect[2], height: rect[3] };
    return draw("g", { class: "node query" }, draw("title", {}, "Your picture"), placeTurned(picture, query, rect, box), draw("rect", { ...frame, class: "frame" }));
  }
  const square = { x: -s / 2, y: -s / 2, width: s, height: s };
  const link = draw(
    "a",
    { class: "node", href: `/compare?${writeQuery(query, { image: point.id, rank: point.rank })}`, "aria-label": `Rank ${point.rank}: ${point.name}` },
    draw("title", {}, `${point.rank}. ${point.name}`),
    draw("rect", { ...square, class: "ground" }),
    draw("image", { ...square, href: pictureAddress(point.id, 256), preserveAspectRatio: "xMidYMid slice" }),
    draw("rect", { ...square, class: "frame" }),
    draw("text", { x: -s / 2 + 3, y: s / 2 - 4 }, `${point.rank}`),
  );
  // The end of a drag is no click; a click by a key has no detail.
  link.addEventListener("click", (event) => { if (event.detail && moved > 4) event.preventDefault(); });
  link.addEventListener("focus", () => reveal(point));
  link.addEventListener("pointerenter", () => link.parentElement.append(link));
  return link;
}

// A picture in focus lies on top and within the map.
function reveal(point) {
  const [x, y] = [(point.x - view.x) * unit(), (point.y - view.y) * unit()];
  const [w, h] = [svg.clientWidth / 2 - side(), svg.clientHeight / 2 - side()];
  if (Math.abs(x) > w || Math.abs(y) > h) {
    [view.x, view.y] = [point.x, point.y];
    arrange();
  }
}

function at(event) {
  const frame = svg.getBoundingClientRect();
  return [event.clientX - frame.left, event.clientY - frame.top];
}

svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  pointers.set(event.pointerId, at(event));
  if (pointers.size === 1) moved = 0;
});
svg.addEventListener("dragstart", (event) => event.preventDefault());
window.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = at(event);
  const others = [...pointers].filter(([id]) => id !== event.pointerId);
  if (others.length) {
    const [, fixed] = others[0];
    const apart = (point) => Math.hypot(point[0] - fixed[0], point[1] - fixed[1]) || 1;
    zoom(apart(now) / apart(before), ...fixed);
  } else pan(now[0] - before[0], now[1] - before[1]);
  moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
  pointers.set(event.pointerId, now);
});
for (const end of ["pointerup", "pointercancel"]) {
  window.addEventListener(end, (event) => pointers.delete(event.pointerId));
}
svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(0.4, Math.abs(event.deltaY) / 400)), ...at(event));
}, { passive: false });
svg.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  const factor = { "+": 1.3, "=": 1.3, "-": 1 / 1.3 }[event.key];
  if (step) pan(...step);
  else if (factor) zoom(factor);
  else return;
  event.preventDefault();
});
part("in").addEventListener("click", () => zoom(1.5));
part("out").addEventListener("click", () => zoom(1 / 1.5));
part("all").addEventListener("click", () => {
  Object.assign(view, { x: 0, y: 0, scale: 1 });
  arrange();
});
window.addEventListener("resize", arrange);

async function open() {
  part("back").href = searchAddress(query);
  try {
    const [found, picture] = await Promise.all([ask(`/api/map?${writeQuery(query)}`), loadPicture(query.picture)]);
    nodes = found.points.map((point) => ({ point, element: node(point, picture) }));
    // Those drawn last lie on top: the query, then the best ranks. Tab goes by rank all the same.
    const order = [...nodes].sort((a, b) => (a.point.rank ?? 0) - (b.point.rank ?? 0));
    svg.append(...order.map(({ element }) => element).reverse());
    arrange();
    part("summary").textContent = `The best ${count(found.points.length - 1, "picture")}; the numbers are their ranks.`;
    part("exactness").textContent = `A plane cannot hold all likenesses at once. ${found.sentence}`;
  } catch (error) {
    part("summary").textContent = "";
    fail(error);
  }
}

open();
