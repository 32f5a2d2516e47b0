// The state of the collection in the head of every page; tells the page when the collection changed.
import { part, share, speak, timeLeft } from "./dom.js";
import { ask } from "./api.js";

const [SOON, LATE] = [1000, 15000];
// What the library calls its work, in words of those who look at photographs.
const TITLES = [[/features$/, "Looking at the pictures"], [/^(neighbour lists|backgrounds)$/, "Comparing them with one another"]];
let last = null;
let pause = SOON;
let timer = null;
const listeners = [];

// Calls `listener(status)` with every new state of the collection, the first one included.
export function follow(listener) {
  listeners.push(listener);
  if (last) listener(last);
}

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const status = await ask("/api/status");
    const fresh = !last || ["generation", "state", "num_found"].some((key) => last[key] !== status[key]);
    const told = describe(status);
    if (last && fresh && status.state !== "preparing") speak(told);
    show(status, told);
    pause = status.work || fresh ? SOON : Math.min(pause * 1.5, LATE);
    last = status;
    if (fresh) for (const listener of listeners) listener(status);
  } catch (error) {
    part("state-text").textContent = error.message;
    pause = Math.min(pause * 2, LATE);
  }
  timer = setTimeout(look, pause);
}

function describe(status) {
  const { num_images: number, num_expected: expected } = status;
  const ready = `${share(number, expected)} can be searched${number < expected ? "; the others follow" : ""}.`;
  if (status.state === "failed") return status.message || "The collection could not be read.";
  if (!status.work) return status.state === "preparing" ? status.message || "Reading the folder …" : ready;
  const { title, done, total, seconds_left: seconds } = status.work;
  const progress = total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  const works = [[workTitle(title), progress].filter(Boolean).join(": "), timeLeft(seconds)].filter(Boolean).join(", ");
  return `${works}. ${status.num_images ? ready : "Searching starts as soon as the first pictures are in."}`;
}

export function workTitle(title) {
  const known = TITLES.find(([pattern]) => pattern.test(title));
  return known ? known[1] : title[0].toUpperCase() + title.slice(1);
}

function show(status, told) {
  if (part("state-text").textContent !== told) part("state-text").textContent = told;
  part("state").className = status.state;
  part("left-out").textContent = status.num_left_out ? ` (${status.num_left_out})` : "";
  const bar = part("state-progress");
  bar.hidden = !status.work;
  if (!status.work) return;
  if (status.work.total) {
    bar.max = status.work.total;
    bar.value = status.work.done;
  } else bar.removeAttribute("value");
}

document.addEventListener("visibilitychange", look);
part("error-close").addEventListener("click", () => { part("error").hidden = true; });
look();
