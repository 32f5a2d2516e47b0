"use strict";

// Everything that comes from the data is set as text or as an attribute, never as markup.
const SPACE = document.getElementById("blank").namespaceURI;
// A table with more scrolls within its frame.
const MOST_ROWS = 20;

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function draw(name, attributes, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

// Cells sort by data-value: a number, or a text; cells without one come last in both directions.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const keys = new Map(rows.map((row) => [row, keyOf(row.cells[column])]));
      const sign = down ? -1 : 1;
      rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        if (typeof x === typeof y) return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
        return sign * (typeof x === "number" ? -1 : 1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// A long table scrolls within its frame, says so, and opens on demand. Returns what to call when it
// has other rows.
function fold(frame) {
  const count = make("span");
  const button = make("button", { type: "button", className: "push" });
  const bar = make("p", { className: "note rows" }, count, button);
  let open = false;
  const update = () => {
    const rows = frame.querySelector("tbody").rows.length;
    bar.hidden = rows <= MOST_ROWS;
    frame.classList.toggle("folded", !bar.hidden && !open);
    count.textContent = open ? `${rows} rows` : `${rows} rows; scroll for the rest`;
    button.textContent = open ? "Show fewer" : "Show all";
  };
  button.addEventListener("click", () => {
    open = !open;
    update();
  });
  frame.before(bar);
  update();
  return update;
}

function keyOf(cell) {
  const value = cell.dataset.value;
  if (value === undefined) return null;
  return cell.classList.contains("number") && value !== "" ? Number(value) : value;
}

function browse(root) {
  const shared = read(root.dataset.shared);
  const part = (name) => root.querySelector(`[data-part=${name}]`);
  const [order, chosen, place] = [part("order"), part("query"), part("place")];
  const dialog = part("dialog");
  const refold = fold(part("positives").closest(".scroll"));
  let now = null;
  let reopen = null;

  const file = (image) => shared.images[image][1];
  const numbers = () => shared.orders[order.selectedIndex][1];

  function fill() {
    chosen.replaceChildren(
      ...numbers().map((query) => make("option", { value: query }, shared.queries[query])),
    );
  }

  function show(query) {
    now = { number: query, ...read(`${root.dataset.shared}-${query}`) };
    chosen.value = query;
    const at = numbers().indexOf(query);
    place.textContent = `${at + 1} of ${numbers().length}`;
    part("previous").disabled = at === 0;
    part("next").disabled = at === numbers().length - 1;
    part("name").textContent = now.name;
    const picture = part("picture");
    picture.replaceChildren(
      make("img", { src: now.file, alt: `Query ${now.name}`, width: now.size[1], height: now.size[0] }),
    );
    if (now.box) picture.append(frame(now));
    part("facts").replaceChildren(
      ...now.facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]),
    );
    part("lists").style.setProperty("--lists", now.lists.length);
    // Four pictures beside each other are too small for a narrow window.
    part("lists").style.setProperty("--narrow", now.lists.length > 3 ? 2 : now.lists.length);
    part("lists").replaceChildren(...now.lists.map(([name, results]) => list(name, results)));
    part("fell").hidden = !now.fallen.length;
    part("fallen").replaceChildren(
      ...now.fallen.map(([image, label, score, change, rank, reason, facts]) =>
        make(
          "li",
          {},
          tile(last(), image, label, score, change, rank),
          make("div", {}, make("p", {}, make("strong", {}, reason)), ...facts.map((fact) => make("p", {}, fact))),
        ),
      ),
    );
    positives();
  }

  // The list in which positives fall.
  function last() {
    return now.lists[now.lists.length - 1][0];
  }

  function frame(query) {
    const [height, width] = query.size;
    const [x1, y1, x2, y2] = query.box;
    const box = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill: "none", "vector-effect": "non-scaling-stroke" };
    return draw(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      draw("rect", { ...box, stroke: "#fff", "stroke-width": 5 }),
      draw("rect", { ...box, stroke: "#d7261e", "stroke-width": 3 }),
    );
  }

  function list(name, results) {
    const items = results.map(([image, label, score, change], index) =>
      make("li", {}, tile(name, image, label, score, change, index + 1)),
    );
    return make("div", {}, make("h4", {}, name), make("ol", {}, ...items));
  }

  function tile(name, image, label, score, change, rank) {
    const title = shared.images[image][0];
    const matched = image in now.matches;
    const moved = change === null ? "" : change === 0 ? "=" : change > 0 ? `▲${change}` : `▼${-change}`;
    const verdict = judge(label, change);
    const words = make(
      "span",
      { className: "words" },
      make("span", { className: "head" }, make("span", {}, `${rank}`), make("span", { className: `kind word-${label}` }, label), make("span", { className: verdict && `word-${verdict}` }, `${moved} ${verdict}`)),
      make("span", {}, score === null ? "no score" : `${shared.scores[name] ?? "score"} ${score.toFixed(4)}`),
      make("span", { className: "soft" }, title),
      ...(shared.least === null ? [] : [make("span", { className: "soft" }, matchesOf(image))]),
    );
    const photo = make(
      "span",
      { className: "photo" },
      make("img", { src: file(image), alt: "", loading: "lazy", decoding: "async" }),
    );
    const element = make(matched ? "button" : "div", { className: `tile ${label}` }, photo, words);
    element.dataset.image = image;
    if (matched) {
      element.type = "button";
      element.setAttribute("aria-label", `${name}, rank ${rank}, ${label}, ${title}: show the matched key points`);
      element.addEventListener("click", () => open(image));
    }
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focus", true], ["blur", false]]) {
      element.addEventListener(event, () => twins(image, on));
    }
    return element;
  }

  // Junk does not count, wherever it goes.
  function judge(label, change) {
    if (!change || label === "junk") return "";
    return change > 0 === (label !== "negative") ? "better" : "worse";
  }

  function matchesOf(image) {
    if (!(image in now.matches)) return "not matched";
    const [count] = now.matches[image];
    return `${countOf(count)}${count < shared.least ? ", too few" : ""}`;
  }

  function countOf(count) {
    return count === 1 ? "1 match" : `${count} matches`;
  }

  function twins(image, on) {
    for (const other of part("lists").querySelectorAll(`[data-image="${image}"]`)) {
      other.classList.toggle("same", on);
    }
  }

  function positives() {
    const body = part("positives").tBodies[0];
    for (const head of part("positives").tHead.rows[0].cells) head.removeAttribute("aria-sort");
    body.replaceChildren(
      ...now.positives.map(([image, label, ranks]) => {
        const title = shared.images[image][0];
        const cells = ranks.map((rank, stage) => {
          const cell = make("td", { className: "number" }, `${rank}`);
          cell.dataset.value = rank;
          cell.dataset.name = shared.stages[stage];
          return cell;
        });
        const photo = make("td", { className: "wide" }, make("img", { src: file(image), alt: "", loading: "lazy" }));
        const name = make("th", { scope: "row" }, title);
        const kind = make("td", { className: `word-${label}` }, label);
        photo.dataset.value = name.dataset.value = title;
        kind.dataset.value = label;
        kind.dataset.name = "label";
        return make("tr", {}, photo, name, kind, ...cells);
      }),
    );
    refold();
  }

  function open(image) {
    const [count, points] = now.matches[image];
    const title = shared.images[image][0];
    part("pair").textContent = `${now.name} and ${title}`;
    const some = points.length / 4;
    part("count").textContent = count
      ? `One transform explains ${countOf(count)}` + (some < count ? `; ${some} of them are drawn.` : ".")
      : "No transform explains enough matches.";
    reopen = () => part("drawing").replaceChildren(pair(image, points));
    reopen();
    dialog.showModal();
  }

  // Side by side where there is room, one above the other where there is none.
  function pair(image, points) {
    const [, source, [height, width]] = shared.images[image];
    const stacked = window.innerWidth < 700;
    const side = 500;
    const fit = ([h, w]) => (stacked ? [(side * h) / w, side] : [side * 0.75, (side * 0.75 * w) / h]);
    const [h1, w1] = fit(now.size);
    const [h2, w2] = fit([height, width]);
    const gap = 16;
    const [left, top] = stacked ? [0, h1 + gap] : [w1 + gap, 0];
    const lines = draw("g", { "stroke-width": 1.6, "stroke-opacity": 0.85, fill: "none" });
    const colours = ["#ffd400", "#00d5ff", "#ff5cf4", "#7dff5c", "#ff8c3b"];
    for (let i = 0; i < points.length; i += 4) {
      const [x1, y1, x2, y2] = points.slice(i, i + 4).map((value) => value / 1000);
      const stroke = colours[(i / 4) % colours.length];
      const [a, b, c, d] = [x1 * w1, y1 * h1, left + x2 * w2, top + y2 * h2];
      lines.append(
        draw("line", { x1: a, y1: b, x2: c, y2: d, stroke }),
        draw("circle", { cx: a, cy: b, r: 3, stroke }),
        draw("circle", { cx: c, cy: d, r: 3, stroke }),
      );
    }
    const [total, wide] = stacked ? [top + h2, Math.max(w1, w2)] : [Math.max(h1, h2), left + w2];
    return draw(
      "svg",
      { viewBox: `0 0 ${wide} ${total}`, role: "img", "aria-label": "The query, the result, and lines between matched key points" },
      draw("image", { href: now.file, width: w1, height: h1, preserveAspectRatio: "none" }),
      draw("image", { href: source, x: left, y: top, width: w2, height: h2, preserveAspectRatio: "none" }),
      lines,
    );
  }

  function go(step) {
    const at = numbers().indexOf(now.number) + step;
    if (at >= 0 && at < numbers().length) show(numbers()[at]);
  }

  function follow() {
    const match = /^#query-(\d+)$/.exec(location.hash);
    if (!match || !(Number(match[1]) in shared.queries)) return;
    show(Number(match[1]));
    root.scrollIntoView();
    part("next").focus({ preventScroll: true });
  }

  order.append(...shared.orders.map(([name]) => make("option", {}, name)));
  order.addEventListener("change", () => {
    fill();
    show(numbers()[0]);
  });
  chosen.addEventListener("change", () => show(Number(chosen.value)));
  part("previous").addEventListener("click", () => go(-1));
  part("next").addEventListener("click", () => go(1));
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { reopen = null; });
  window.addEventListener("resize", () => reopen && reopen());
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    if (dialog.open || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("select, input, textarea, .scroll")) return;
    if (event.key === "ArrowRight") go(1);
    else if (event.key === "ArrowLeft") go(-1);
    else return;
    event.preventDefault();
  });
  fill();
  if (shared.queries.length) show(numbers()[0]);
  follow();
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("section > .scroll").forEach(fold);
document.querySelectorAll("[data-shared]").forEach(browse);
