import { part, make, count, fail } from "./dom.js";
import { ask } from "./api.js";
import { follow } from "./status.js";
import "./upload.js";

async function load() {
  try {
    const { files } = await ask("/api/left_out");
    part("files").hidden = !files.length;
    part("files").tBodies[0].replaceChildren(
      ...files.map((file) => make("tr", {}, make("th", { scope: "row" }, file.name), make("td", {}, file.reason))),
    );
    part("summary").textContent = files.length
      ? `${count(files.length, "file")} of the folder cannot be searched. Everything else is in.`
      : "Every picture of the folder is in.";
  } catch (error) {
    fail(error);
  }
}

follow(load);
