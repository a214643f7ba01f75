// What comes back: JSON, a stream piece by piece, a picture, or a file to keep.
//
//   Response ──showAnswer──► the answer's part of the page

import { isExact, parse, pretty } from "./try-html.js";

const at = (id) => document.getElementById(id);

export function tell(text, kind = "") {
  at("outcome").textContent = text;
  at("outcome").className = kind;
}

export function clear() {
  at("answer").textContent = "";
  at("picture").hidden = at("file").hidden = true;
  if (at("download").href) {
    URL.revokeObjectURL(at("download").href);
    at("download").removeAttribute("href");
  }
}

export const typeOf = (response) => (response.headers.get("content-type") ?? "").split(";")[0];

export async function showAnswer(response, keptAs) {
  const type = typeOf(response);
  if (type === "application/x-ndjson" || type === "text/event-stream") {
    await showStream(response);
  } else if (type.endsWith("json")) {
    showJson(await response.text());
  } else if (type.startsWith("text/")) {
    at("answer").textContent = await response.text();
  } else {
    showFile(await response.blob(), type, response, keptAs);
  }
}

async function showStream(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    at("answer").append(value);
  }
}

function showJson(text) {
  at("answer").textContent = text && isExact(text) ? pretty(parse(text)) : text;
}

function showFile(blob, type, response, keptAs) {
  const url = URL.createObjectURL(blob);
  at("download").href = url;
  at("download").download = keptAs;
  at("file").hidden = false;
  if (type.startsWith("image/")) {
    at("image").src = url;
    at("picture").hidden = false;
  }
  const dtype = response.headers.get("modelpack-dtype");
  const shape = response.headers.get("modelpack-shape");
  const array = dtype === null ? "" : `, ${dtype} of shape ${shape}`;
  at("answer").textContent = blob.size ? `${blob.size} bytes of ${type}${array}` : "nothing";
}
