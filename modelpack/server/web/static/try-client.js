// The request as a call of modelpack's own client for Python.
//
//   callOf(operation, form, body) ──► { name, file, arguments } ──client──► text
//
//   arguments   [[name, Python]], or null: all of them stand in the file `file`

import { parse } from "./try-html.js";
import { literal, pythonOf } from "./try-snippets.js";

const isFile = (field) => field.kind === "image" || field.kind === "file";

export function callOf({ name, fields, answers, isStream }, { mode, file }, body) {
  const ends = { name, isStream, keepsFile: !isStream && !answers[0].endsWith("json") };
  if (mode === "raw") {
    const whole = fields.find(isFile) ?? fields.find((one) => one.kind === "array");
    const read = isFile(whole) ? `Path(${literal(file.name)})` : `numpy.load(${literal(file.name)})`;
    return { ...ends, arguments: [[whole.name, read]] };
  }
  if (body.kind === "form") {
    const parts = body.parts.map((one) => [one.name, one.file ? `Path(${literal(one.file)})` : pythonOf(one.json)]);
    return { ...ends, arguments: parts };
  }
  return body.file ? { ...ends, file: body.file, arguments: null } : { ...ends, arguments: pairsOf(body.text, fields) };
}

// The keys of a JSON body as arguments; null when it is no object.
function pairsOf(text, fields) {
  let value;
  try {
    value = parse(text);
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return undefined;
  }
  return Object.entries(value).map(([name, one]) => {
    const field = fields.find((known) => known.name === name);
    const python = pythonOf(JSON.stringify(one));
    return [name, field && isFile(field) ? `base64.b64decode(${python})` : python];
  });
}

export function client({ url, call, answer }) {
  if (call === null) {
    throw new Error("modelpack.Client calls the apis of the service: choose another language for this");
  }
  if (call.arguments === undefined) {
    throw new Error("the body is no object of arguments");
  }
  const words = call.arguments === null
    ? [`**json.loads(Path(${literal(call.file)}).read_bytes())`]
    : call.arguments.map(([name, value]) => `${name}=${value}`);
  const made = `client.${call.name}(${words.join(", ")})`;
  const body = call.isStream
    ? [`    for piece in ${made}:`, "        print(piece)"]
    : call.keepsFile
      ? [`    Path(${literal(answer)}).write_bytes(${made})`]
      : [`    print(${made})`];
  const text = body.join("\n");
  const standard = ["base64", "json"].filter((one) => text.includes(`${one}.`)).map((one) => `import ${one}`);
  const path = text.includes("Path(") ? ["from pathlib import Path"] : [];
  const first = [...standard, ...path];
  const second = [...(text.includes("numpy.load(") ? ["import numpy"] : []), "import modelpack"];
  const root = literal(new URL(url).origin);
  return [...first, ...(first.length ? [""] : []), ...second, "", `with modelpack.Client(${root}) as client:`, text].join("\n");
}
