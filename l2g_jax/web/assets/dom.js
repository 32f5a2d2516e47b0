// Everything that comes from the server is set as text or as an attribute, never as markup.
const SPACE = "http://www.w3.org/2000/svg";

export const part = (id) => document.getElementById(id);

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A picture of the collection; where its file cannot be read, words stand for it.
export function thumbnail(address) {
  const image = make("img", { src: address, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "soft" }, "cannot be shown")));
  return image;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// Photographs that can be searched, of all that will be once the whole folder is taken in.
export function share(number, expected, one = "photograph") {
  return number < expected ? `${number.toLocaleString("en")} of ${count(expected, one)}` : count(number, one);
}

export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return "less than a minute left";
  if (seconds < 3600) return `about ${count(Math.round(seconds / 60), "minute")} left`;
  return `about ${count(Math.round(seconds / 3600), "hour")} left`;
}

export function fileSize(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// For those who do not see the page; the same sentence twice is spoken twice.
export function speak(sentence) {
  part("spoken").textContent = "";
  setTimeout(() => { part("spoken").textContent = sentence; }, 50);
}

export function fail(error) {
  if (error.name === "AbortError") return;
  part("error-text").textContent = error.message;
  part("error").hidden = false;
  part("error").scrollIntoView({ block: "nearest" });
}

export function recover() {
  part("error").hidden = true;
}

// A menu closes when one clicks elsewhere or presses Escape.
export function closable(menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
