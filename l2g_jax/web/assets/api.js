// The interface of the server; what it refuses becomes an error with its sentence.
export async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is “l2g serve” still running?");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const sentence = typeof body.detail === "string" ? body.detail : null;
  const error = new Error(sentence ?? `The server refused this address (${answer.status}).`);
  error.status = answer.status;
  throw error;
}

export const pictureAddress = (id, side) => `/api/pictures/${encodeURIComponent(id)}?side=${side}`;

export async function nameOf(id) {
  const { name } = await ask(`/api/images/${encodeURIComponent(id)}`).catch(() => ({}));
  return name || "Your picture";
}
