// Pictures and what is drawn over them, as SVG.
import { draw } from "./dom.js";
import { ask, pictureAddress } from "./api.js";

// Loads a picture once, for its proportions: width and height of the picture as its file is shown.
export function loadPicture(id, side = 1024) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve({ id, source: image.src, size: [image.naturalWidth, image.naturalHeight] });
    image.onerror = () => reasonOf(id).then((reason) => reject(new Error(reason)));
    image.src = pictureAddress(id, side);
  });
}

// The server's sentence on why a picture is not shown.
async function reasonOf(id) {
  try {
    await ask(`/api/images/${encodeURIComponent(id)}`);
    return "This picture cannot be shown. Choose another one.";
  } catch (error) {
    return error.status ? `${error.message} Choose another picture.` : error.message;
  }
}

export function shownSize(picture, query) {
  const [width, height] = picture.size;
  return query.turn % 180 ? [height, width] : [width, height];
}

// The picture turned and mirrored, on the rectangle from (0, 0) to `shownSize`.
export function drawTurned(picture, query) {
  const [width, height] = picture.size;
  const [shown] = shownSize(picture, query);
  const turns = { 0: "", 90: `translate(${height} 0) rotate(90)`, 180: `translate(${width} ${height}) rotate(180)`, 270: `translate(0 ${width}) rotate(270)` };
  const mirror = query.mirror ? `translate(${shown} 0) scale(-1 1)` : "";
  const image = draw("image", { href: picture.source, width, height, preserveAspectRatio: "none" });
  return draw("g", { transform: `${mirror} ${turns[query.turn]}` }, image);
}

// The same on any rectangle; with `inside`, only that part of it (fractions) fills the rectangle.
export function placeTurned(picture, query, [x, y, width, height], inside = [0, 0, 1, 1]) {
  const [w, h] = shownSize(picture, query);
  const [x1, y1, x2, y2] = inside;
  const viewBox = `${x1 * w} ${y1 * h} ${(x2 - x1) * w} ${(y2 - y1) * h}`;
  return draw("svg", { x, y, width, height, viewBox, preserveAspectRatio: "none" }, drawTurned(picture, query));
}

// An outline that is seen on dark and on light pictures, and keeps its width when scaled.
export function outline(points, kind = "region") {
  const text = points.map((point) => point.join(",")).join(" ");
  const common = { points: text, fill: "none", "vector-effect": "non-scaling-stroke" };
  return draw(
    "g",
    { class: kind },
    draw("polygon", { ...common, class: "under" }),
    draw("polygon", { ...common, class: "over" }),
  );
}

export const corners = ([x1, y1, x2, y2]) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];

// What of a polygon lies within the picture (Sutherland and Hodgman), so that a part that reaches
// beyond the picture shows its border there.
export function clip(points) {
  const edges = [[0, 0, 1], [0, 1, -1], [1, 0, 1], [1, 1, -1]];
  let rest = points;
  for (const [axis, limit, sign] of edges) {
    const inside = (point) => sign * (point[axis] - limit) >= 0;
    rest = rest.flatMap((point, index) => {
      const before = rest[(index + rest.length - 1) % rest.length];
      if (inside(point) === inside(before)) return inside(point) ? [point] : [];
      const share = (limit - before[axis]) / (point[axis] - before[axis]);
      const cut = before.map((value, at) => value + share * (point[at] - value));
      return inside(point) ? [cut, point] : [cut];
    });
  }
  return rest;
}

// A thumbnail with outlines of regions (fractions of the picture) over it.
export function framed(image, regions) {
  const frame = document.createElement("span");
  frame.className = "framed";
  frame.append(image);
  const shapes = regions.map(clip).filter((points) => points.length > 2).map((points) => outline(points));
  if (shapes.length) {
    frame.append(draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...shapes));
  }
  return frame;
}
