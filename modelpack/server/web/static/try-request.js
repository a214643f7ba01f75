// The request that the form holds: one value for what is sent and what the snippets say.
//
//   requestOf(operation, form) ──► { method, url, headers, body, answer, call, payload }
//
//   form     { mode, fields, text, file, accept }    mode: "fields" | "json" | "raw" | undefined
//   body     what a snippet says of it, see try-snippets
//   payload  what fetch takes
//   answer   "json" | "text" | "stream" | the name of a file
//   call     the same as a call of the api, see try-client; null for what is no api
//
// Raises an Error for people when something is missing or wrong.

import { callOf } from "./try-client.js";

const LONG_CHARS = 10_000;
export const BODY_FILE = "body.json";

export function requestOf(operation, form) {
  const { method, path, answers, isStream } = operation;
  const asked = form.accept && form.accept !== answers[0] ? [["accept", form.accept]] : [];
  const answer = answerKind(form.accept || answers[0] || "application/json", isStream);
  const [body, payload, type] = bodyOf(operation, form);
  const headers = type ? [["content-type", type], ...asked] : asked;
  const call = operation.name === null ? null : callOf(operation, form, body);
  return { method, url: location.origin + path, headers, body, answer, call, payload };
}

function bodyOf(operation, { mode, fields, text, file }) {
  switch (mode) {
    case undefined:
      return [null, undefined, null];
    case "raw":
      return rawBody(operation.rawTypes, file);
    case "fields":
      return sendsFiles(fields) ? formBody(fields) : jsonBody(compact(jsonOf(fields)));
    default:
      return jsonBody(compact(text));
  }
}

const sendsFiles = (fields) => fields.some((one) => one.isFile && (one.file() || one.isRequired));

function rawBody(rawTypes, file) {
  if (!file) {
    throw new Error("choose a file");
  }
  const isNpy = rawTypes.includes("application/x-npy");
  const isImage = rawTypes.includes("image/*") && file.type.startsWith("image/");
  const type = isNpy ? "application/x-npy" : isImage ? file.type : "application/octet-stream";
  return [{ kind: "file", file: file.name }, file, type];
}

function formBody(fields) {
  const parts = fields.map((one) => one.part()).filter((part) => part !== undefined);
  const data = new FormData();
  for (const { name, blob, file, text } of parts) {
    if (blob) {
      data.append(name, blob, file);
    } else {
      data.append(name, text);
    }
  }
  return [{ kind: "form", parts }, data, null]; // fetch writes the content type, with the boundary
}

function jsonBody(text) {
  const file = text.length > LONG_CHARS ? BODY_FILE : undefined;
  return [{ kind: "json", text, file }, text, "application/json"];
}

// The JSON of what the fields hold, without those that are left out.
export function jsonOf(fields) {
  const pairs = fields.map((one) => [one.name, one.json()]).filter(([, json]) => json !== undefined);
  return `{${pairs.map(([name, json]) => `${JSON.stringify(name)}: ${json}`).join(",\n ")}}`;
}

// JSON on one line, with its numbers as they were written; what is no JSON stays as it is.
function compact(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const gap = (at) => (/[,:]/.test(text[at - 1]) ? " " : "");
  return text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_, string, at) => string ?? gap(at));
}

function answerKind(type, isStream) {
  if (isStream) {
    return "stream";
  }
  if (type.endsWith("json")) {
    return "json";
  }
  const endings = { "application/x-npy": "npy", "image/png": "png" };
  return type.startsWith("text/") ? "text" : `answer.${endings[type] ?? "bin"}`;
}
