// A box that is drawn on a picture with a mouse, a finger, or keys.
import { draw } from "./dom.js";
import { corners, drawTurned, outline, shownSize } from "./picture.js";

const LEAST = 0.02;
const STEP = 0.02;
const FIRST = [0.3, 0.3, 0.7, 0.7];
const bound = (value) => Math.min(1, Math.max(0, value));

// Calls `changed(box)` with every change and `finished(box)` when it is to be searched; a box is
// x1, y1, x2, y2 in fractions of the picture as shown, null = the whole picture.
export function boxEditor(svg, { changed, finished }) {
  let [width, height] = [1, 1];
  let box = null;
  let held = null;
  const layer = draw("g");

  function show(picture, query) {
    [width, height] = shownSize(picture, query);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(drawTurned(picture, query), layer);
    set(query.box);
  }

  function set(next) {
    box = next;
    layer.replaceChildren();
    if (!box) return;
    const points = corners(box).map(([x, y]) => [x * width, y * height]);
    const hole = points.map((point) => point.join(" ")).join("L");
    const scale = svg.getScreenCTM()?.a || 1;
    layer.append(
      draw("path", { class: "shade", "fill-rule": "evenodd", d: `M0 0H${width}V${height}H0ZM${hole}Z` }),
      outline(points, "box"),
      ...points.map(([cx, cy]) => draw("circle", { cx, cy, r: 6 / scale, class: "handle", "vector-effect": "non-scaling-stroke" })),
    );
  }

  function change(next) {
    set(next);
    changed(next);
  }

  function place(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.x / width, point.y / height];
  }

  // A corner under the pointer is pulled, the inside of the box moved; elsewhere a new box begins.
  function grasp(at) {
    if (!box) return { anchor: at };
    const reach = 14 / (svg.getScreenCTM().a || 1);
    const points = corners(box);
    const near = points.findIndex(([x, y]) => Math.hypot((x - at[0]) * width, (y - at[1]) * height) < reach);
    if (near >= 0) return { anchor: points[(near + 2) % 4] };
    const within = at[0] > box[0] && at[0] < box[2] && at[1] > box[1] && at[1] < box[3];
    return within ? { start: at, moved: box } : { anchor: at };
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || held) return;
    event.preventDefault();
    svg.focus({ preventScroll: true });
    svg.setPointerCapture(event.pointerId);
    held = { ...grasp(place(event)), before: box, pointer: event.pointerId };
  });

  svg.addEventListener("pointermove", (event) => {
    if (held?.pointer !== event.pointerId) return;
    const at = place(event);
    change(held.moved ? shift(held.moved, at[0] - held.start[0], at[1] - held.start[1]) : between(held.anchor, at.map(bound)));
  });

  svg.addEventListener("pointerup", (event) => {
    if (held?.pointer !== event.pointerId) return;
    const before = held.before;
    held = null;
    if (box && (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST)) change(before);
    if (String(box) !== String(before)) finished(box);
  });

  svg.addEventListener("pointercancel", () => {
    if (held) change(held.before);
    held = null;
  });

  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (step && !box) change(FIRST);
    else if (step) change(event.shiftKey ? stretch(box, ...step) : shift(box, ...step));
    else if (event.key === "Enter") finished(box);
    else if (event.key === "Escape" && box) {
      change(null);
      finished(null);
    } else return;
    event.preventDefault();
  });

  window.addEventListener("resize", () => set(box));
  return { show, set };
}

function between(anchor, at) {
  const [x, y] = anchor.map(bound);
  return [Math.min(x, at[0]), Math.min(y, at[1]), Math.max(x, at[0]), Math.max(y, at[1])];
}

function shift([x1, y1, x2, y2], dx, dy) {
  const x = Math.min(1 - x2, Math.max(-x1, dx));
  const y = Math.min(1 - y2, Math.max(-y1, dy));
  return [x1 + x, y1 + y, x2 + x, y2 + y];
}

function stretch([x1, y1, x2, y2], dx, dy) {
  return [x1, y1, Math.min(1, Math.max(x1 + LEAST, x2 + dx)), Math.min(1, Math.max(y1 + LEAST, y2 + dy))];
}
