// A query as the address of a page holds it: the box is in fractions of the picture as it is shown,
// that is turned clockwise first and mirrored left to right afterwards.
export function readQuery() {
  const given = new URLSearchParams(location.search);
  const turn = Number(given.get("turn") ?? 0);
  return {
    picture: given.get("picture"),
    box: readBox(given.get("box")),
    turn: [0, 90, 180, 270].includes(turn) ? turn : 0,
    mirror: given.get("mirror") === "1",
    page: Math.max(1, Math.floor(Number(given.get("page"))) || 1),
  };
}

function readBox(text) {
  const box = (text ?? "").split(",").map(Number);
  const valid = box.length === 4 && box.every((value) => value >= 0 && value <= 1);
  return valid && box[0] < box[2] && box[1] < box[3] ? box : null;
}

export function writeQuery(query, more = {}) {
  const written = new URLSearchParams({ picture: query.picture });
  if (query.box) written.set("box", query.box.map((value) => Number(value.toFixed(4))).join(","));
  if (query.turn) written.set("turn", query.turn);
  if (query.mirror) written.set("mirror", "1");
  for (const [key, value] of Object.entries(more)) written.set(key, value);
  return written.toString().replaceAll("%2C", ",");
}

export function searchAddress(query) {
  return `/search?${writeQuery(query, query.page > 1 ? { page: query.page } : {})}`;
}

// The box stays on what it frames while the picture is turned or mirrored.
export function turned(query, clockwise) {
  const move = clockwise ? ([x1, y1, x2, y2]) => [1 - y2, x1, 1 - y1, x2] : ([x1, y1, x2, y2]) => [y1, 1 - x2, y2, 1 - x1];
  const step = clockwise === query.mirror ? 270 : 90;
  return { box: query.box && move(query.box), turn: (query.turn + step) % 360, page: 1 };
}

export function mirrored(query) {
  const flip = ([x1, y1, x2, y2]) => [1 - x2, y1, 1 - x1, y2];
  return { box: query.box && flip(query.box), mirror: !query.mirror, page: 1 };
}
