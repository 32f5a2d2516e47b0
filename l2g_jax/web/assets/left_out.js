import { part, make, count, share, fail } from "./dom.js";
import { ask } from "./api.js";
import { follow } from "./status.js";
import "./upload.js";

async function load(status) {
  try {
    const { files } = await ask("/api/left_out");
    part("files").hidden = !files.length;
    part("files").tBodies[0].replaceChildren(
      ...files.map((file) => make("tr", {}, make("th", { scope: "row" }, file.name), make("td", {}, file.reason))),
    );
    part("summary").textContent = summary(files.length, status);
  } catch (error) {
    fail(error);
  }
}

function summary(number, { num_images: taken, num_expected: expected }) {
  const left = `${count(number, "file")} of the folder cannot be searched`;
  if (taken < expected || !taken) return `So far ${number ? left : "no file is left out"}; ${share(taken, expected, "picture")} ${expected === 1 ? "is" : "are"} in.`;
  return number ? `${left}. Everything else is in.` : "Every picture of the folder is in.";
}

follow(load);
