// A picture of one's own: chosen, dropped anywhere on the page, or pasted.
import { part, fail, make, recover, speak } from "./dom.js";
import { ask } from "./api.js";

let busy = false;
let fromHere = false;

export async function upload(file) {
  if (busy) return;
  busy = true;
  recover();
  speak("Reading the picture …");
  document.body.classList.add("busy");
  try {
    const headers = { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name || "pasted") };
    const answer = await ask("/api/uploads", { method: "POST", body: file, headers });
    location.assign(`/search?picture=${encodeURIComponent(answer.id)}`);
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

const hasFile = (transfer) => [...(transfer?.types ?? [])].includes("Files");

function dropped(event) {
  document.body.classList.remove("over");
  if (fromHere) return;
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file) upload(file);
  else fail(new Error("There was no file in what you dropped. Save the picture first, then choose it."));
}

document.body.append(make("div", { id: "veil", "aria-hidden": "true" }, make("p", {}, "Drop the picture")));
document.addEventListener("dragstart", () => { fromHere = true; });
document.addEventListener("dragend", () => { fromHere = false; });
document.addEventListener("dragover", (event) => {
  if (fromHere) return;
  event.preventDefault();
  document.body.classList.toggle("over", hasFile(event.dataTransfer));
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", dropped);
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file) upload(file);
  else if (!event.target.closest("input")) fail(new Error("There is no picture in the clipboard."));
});
part("file")?.addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) upload(file);
});
