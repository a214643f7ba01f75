// The request that the page would send, in other languages.  What is shown works when pasted.
//
//   { method, url, headers, body, answer } ──snippet(language)──► text
//
//   body    null | { kind: "json", text, file } | { kind: "form", parts } | { kind: "file", file }
//           `file` of JSON: the name of a file that holds it, when it is too long to be shown
//   parts   [{ name, file } | { name, text, json }]
//   answer  "json" | "text" | "stream" | the name of a file to keep it in

import { client } from "./try-client.js";

const SHOWN = ["json", "text", "stream"];

export const LANGUAGES = {
  curl: "curl",
  python: "Python",
  javascript: "JavaScript",
  go: "Go",
  modelpack: "modelpack.Client",
};

export function snippet(language, request) {
  return { curl, python, javascript, go, modelpack: client }[language](request);
}

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
export const literal = (text) => JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false; // sent as it stands: the server says what is wrong with it
  }
}

function curl({ method, url, headers, body, answer }) {
  const words = [`curl ${method === "POST" && body ? "" : `-X ${method} `}${quoted(url)}`];
  if (answer === "stream") {
    words.push("-N");
  }
  words.push(...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`));
  if (body?.kind === "json") {
    words.push(body.file ? `--data-binary ${quoted("@" + body.file)}` : `-d ${quoted(body.text)}`);
  } else if (body?.kind === "file") {
    words.push(`--data-binary ${quoted("@" + body.file)}`);
  }
  for (const part of body?.parts ?? []) {
    const name = /[;,"\\]/.test(part.file ?? "") ? literal(part.file) : part.file;
    const flag = part.file ? `-F ${quoted(`${part.name}=@${name}`)}` : "";
    words.push(flag || `--form-string ${quoted(`${part.name}=${part.text}`)}`);
  }
  if (!SHOWN.includes(answer)) {
    words.push(`-o ${quoted(answer)}`);
  }
  return words.join(" \\\n  ");
}

// JSON as Python writes it; numbers stay as they are.
export function pythonOf(json) {
  const words = { true: "True", false: "False", null: "None" };
  return json.replace(/"(?:[^"\\]|\\.)*"|true|false|null|[,:]\s*/g, (one) =>
    one.startsWith('"') ? literal(JSON.parse(one)) : (words[one] ?? `${one[0]} `),
  );
}

function pythonBody(body) {
  if (body === null) {
    return [[], null];
  }
  if (body.kind === "form") {
    // The standard library has no forms: files are base64 in JSON.
    const items = body.parts.map(({ name, file, json }) =>
      file
        ? `    ${literal(name)}: base64.b64encode(Path(${literal(file)}).read_bytes()).decode(),`
        : `    ${literal(name)}: ${pythonOf(json)},`,
    );
    return [["base64", "json", "Path"], `json.dumps({\n${items.join("\n")}\n}).encode()`];
  }
  if (body.file) {
    return [["Path"], `Path(${literal(body.file)}).read_bytes()`];
  }
  return isJson(body.text)
    ? [["json"], `json.dumps(${pythonOf(body.text)}).encode()`]
    : [[], `${literal(body.text)}.encode()`];
}

function python({ method, url, headers, body, answer }) {
  const [needs, data] = pythonBody(body);
  const shown = {
    json: ["    print(json.load(answer))"],
    text: ["    print(answer.read().decode())"],
    stream: ["    for line in answer:", '        print(line.decode(), end="")'],
  }[answer] ?? [`    Path(${literal(answer)}).write_bytes(answer.read())`];
  const used = new Set([...needs, ...(answer === "json" ? ["json"] : []), ...(shown[0].includes("Path") ? ["Path"] : [])]);
  const fields = body?.kind === "form" ? [["content-type", "application/json"], ...headers] : headers;
  const lines = ["base64", "json"].filter((name) => used.has(name)).map((name) => `import ${name}`);
  lines.push("import urllib.request", ...(used.has("Path") ? ["from pathlib import Path"] : []), "");
  if (data !== null) {
    lines.push(`body = ${data}`);
  }
  const pairs = fields.map(([name, value]) => `${literal(name)}: ${literal(value)}`).join(", ");
  lines.push(
    "request = urllib.request.Request(",
    `    ${literal(url)},`,
    ...(data === null ? [] : ["    body,"]),
    ...(pairs ? [`    {${pairs}},`] : []),
    ...(data === null ? [`    method=${literal(method)},`] : []),
    ")",
    "with urllib.request.urlopen(request) as answer:",
    ...shown,
  );
  return lines.join("\n");
}

function javascriptBody(body) {
  if (body.kind === "form") {
    return "form";
  }
  if (body.file) {
    return `await readFile(${literal(body.file)})`;
  }
  // Long integers would be rounded by JavaScript: then the text is sent as it is.
  const isExact = isJson(body.text) && !/\d{16}/.test(body.text);
  return isExact ? `JSON.stringify(${body.text})` : literal(body.text);
}

function javascript({ method, url, headers, body, answer }) {
  const lines = [];
  const keeps = !SHOWN.includes(answer);
  const reads = body?.kind === "file" || body?.file || body?.parts?.some((part) => part.file);
  const used = [...(reads ? ["readFile"] : []), ...(keeps ? ["writeFile"] : [])];
  if (used.length) {
    lines.push(`const { ${used.join(", ")} } = await import("node:fs/promises");`);
  }
  if (body?.kind === "form") {
    lines.push("const form = new FormData();");
    for (const { name, file, text } of body.parts) {
      lines.push(
        file
          ? `form.append(${literal(name)}, new Blob([await readFile(${literal(file)})]), ${literal(file)});`
          : `form.append(${literal(name)}, ${literal(text)});`,
      );
    }
  }
  const pairs = headers.map(([name, value]) => `${literal(name)}: ${literal(value)}`).join(", ");
  lines.push(
    `const response = await fetch(${literal(url)}, {`,
    `  method: ${literal(method)},`,
    ...(pairs ? [`  headers: { ${pairs} },`] : []),
    ...(body ? [`  body: ${javascriptBody(body)},`] : []),
    "});",
  );
  if (answer === "stream") {
    lines.push(
      "for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {",
      "  console.log(piece.trimEnd());",
      "}",
    );
  } else if (keeps) {
    lines.push(`await writeFile(${literal(answer)}, new Uint8Array(await response.arrayBuffer()));`);
  } else {
    lines.push("console.log(await response.text());");
  }
  return lines.join("\n");
}

const goText = (text) => (/[`\r]/.test(text) ? literal(text) : "`" + text + "`");
const CHECK = ["\tif err != nil {", "\t\tlog.Fatal(err)", "\t}"];

function goBody(body) {
  if (body === null) {
    return [[], [], "nil"];
  }
  if (body.kind === "form") {
    const lines = ["\tbody := &bytes.Buffer{}", "\tform := multipart.NewWriter(body)"];
    for (const { name, file, text } of body.parts) {
      lines.push(
        ...(file
          ? [
              `\taddFile(form, ${literal(name)}, ${literal(file)})`,
            ]
          : [`\tform.WriteField(${literal(name)}, ${goText(text)})`]),
      );
    }
    lines.push("\tform.Close()");
    const files = body.parts.some((part) => part.file) ? ["os"] : [];
    return [["bytes", "mime/multipart", ...files], lines, "body"];
  }
  if (body.file) {
    const lines = [`\tbody, err := os.Open(${literal(body.file)})`, ...CHECK];
    return [["os"], lines, "body"];
  }
  return [["strings"], [`\tbody := strings.NewReader(${goText(body.text)})`], "body"];
}

const ADD_FILE = `
func addFile(form *multipart.Writer, name, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	part, err := form.CreateFormFile(name, path)
	if err != nil {
		log.Fatal(err)
	}
	part.Write(data)
}`;

function go({ method, url, headers, body, answer }) {
  const [needs, before, name] = goBody(body);
  const keeps = !SHOWN.includes(answer);
  const imports = [...new Set([...needs, "io", "log", "net/http", "os"])].sort();
  const lines = ["package main", "", "import (", ...imports.map((one) => `\t"${one}"`), ")", ""];
  lines.push("func main() {", ...before);
  lines.push(`\trequest, err := http.NewRequest(${literal(method)}, ${literal(url)}, ${name})`, ...CHECK);
  lines.push(...headers.map(([key, value]) => `\trequest.Header.Set(${literal(key)}, ${literal(value)})`));
  if (body?.kind === "form") {
    lines.push('\trequest.Header.Set("content-type", form.FormDataContentType())');
  }
  lines.push("\tanswer, err := http.DefaultClient.Do(request)", ...CHECK, "\tdefer answer.Body.Close()");
  if (keeps) {
    lines.push(`\tfile, err := os.Create(${literal(answer)})`, ...CHECK, "\tdefer file.Close()");
  }
  lines.push(`\tio.Copy(${keeps ? "file" : "os.Stdout"}, answer.Body)`, "}");
  return lines.join("\n") + (needs.includes("mime/multipart") && needs.includes("os") ? "\n" + ADD_FILE : "");
}
