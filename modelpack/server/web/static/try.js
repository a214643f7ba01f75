// The try-it page: reads /openapi.json, sends what the form holds, shows what comes back.
//
//   document ──apis──► one entry an api ──show──► form and curl line
//   form ──call──► fetch ──► status, time, answer; streams piece by piece
//
// Text of the service or of an answer only ever becomes textContent.

const at = (id) => document.getElementById(id);

let apis = [];
let running = null;

function apisOf(spec) {
  return Object.entries(spec.paths)
    .filter(([, item]) => item.post)
    .map(([path, { post }]) => {
      const content = post.requestBody.content;
      const schema = content["application/json"].schema;
      return {
        path,
        doc: post.description,
        example: content["application/json"].example,
        isForm: "multipart/form-data" in content,
        required: new Set(schema.required ?? []),
        fields: Object.entries(schema.properties ?? {}).map(([name, one]) => ({
          name,
          isFile: one.contentEncoding === "base64",
          accept: one.contentMediaType === "image/png" ? "image/*" : "",
          isText: one.type === "string" && !one.contentEncoding,
        })),
      };
    });
}

// Like JSON.stringify with two spaces, but a list of plain values stays on one line.
function pretty(value, indent = "") {
  const deeper = indent + "  ";
  if (Array.isArray(value)) {
    if (value.every((one) => one === null || typeof one !== "object")) {
      return "[" + value.map((one) => JSON.stringify(one)).join(", ") + "]";
    }
    return "[\n" + value.map((one) => deeper + pretty(one, deeper)).join(",\n") + "\n" + indent + "]";
  }
  if (value !== null && typeof value === "object") {
    const lines = Object.entries(value).map(
      ([key, one]) => deeper + JSON.stringify(key) + ": " + pretty(one, deeper),
    );
    return lines.length ? "{\n" + lines.join(",\n") + "\n" + indent + "}" : "{}";
  }
  return JSON.stringify(value);
}

const current = () => apis[at("api").selectedIndex];

function show() {
  const api = current();
  at("api-doc").textContent = api.doc;
  at("json-field").hidden = api.isForm;
  at("form-fields").hidden = !api.isForm;
  at("body").value = pretty(api.example);
  at("form-fields").replaceChildren(...(api.isForm ? api.fields.map((one) => field(api, one)) : []));
  clear();
  tell("Nothing was sent yet.");
  check();
}

function field(api, { name, isFile, accept, isText }) {
  const line = document.createElement("p");
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.id = label.htmlFor = "field-" + name;
  input.name = name;
  input.required = api.required.has(name);
  const kind = isFile ? "file" : isText ? "text" : "JSON";
  label.textContent = `${name} (${kind}${input.required ? "" : ", optional"})`;
  if (isFile) {
    input.type = "file";
    input.accept = accept;
  } else if (name in api.example) {
    const value = api.example[name];
    input.value = isText ? value : JSON.stringify(value);
  }
  line.append(label, input);
  return line;
}

function inputs() {
  return [...at("form-fields").querySelectorAll("input")].filter((one) => one.value !== "");
}

function formData() {
  const data = new FormData();
  for (const input of inputs()) {
    data.append(input.name, input.type === "file" ? input.files[0] : input.value);
  }
  return data;
}

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

function curlLine() {
  const api = current();
  const url = location.origin + api.path;
  if (api.isForm) {
    const parts = inputs().map((one) =>
      one.type === "file"
        ? `-F ${quoted(one.name + "=@" + one.files[0].name)}`
        : `--form-string ${quoted(one.name + "=" + one.value)}`,
    );
    return ["curl", ...parts, quoted(url)].join(" ");
  }
  let body = at("body").value;
  try {
    body = JSON.stringify(JSON.parse(body));
  } catch {
    // Sent as it stands: the server says what is wrong with it.
  }
  return `curl ${quoted(url)} -H 'content-type: application/json' -d ${quoted(body)}`;
}

function check() {
  let trouble = "";
  if (!current().isForm) {
    try {
      JSON.parse(at("body").value);
    } catch (error) {
      trouble = "Not valid JSON: " + error.message;
    }
  }
  at("body-hint").textContent = trouble;
  at("curl").textContent = curlLine();
}

function tell(text, kind = "") {
  at("outcome").textContent = text;
  at("outcome").className = kind;
}

function clear() {
  at("answer").textContent = "";
  at("picture").hidden = at("file").hidden = true;
  if (at("download").href) {
    URL.revokeObjectURL(at("download").href);
  }
}

async function showStream(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    at("answer").textContent += value;
  }
}

async function showWhole(response, type) {
  if (type.endsWith("json")) {
    const text = await response.text();
    // A number that is exact on the wire may not be in JavaScript: then the text is shown as it is.
    const parsed = JSON.parse(text);
    const isExact = !/\d{16}/.test(text);
    at("answer").textContent = isExact ? pretty(parsed) : text;
    return;
  }
  const blob = await response.blob();
  const url = URL.createObjectURL(blob);
  at("download").href = url;
  at("file").hidden = false;
  if (type.startsWith("image/")) {
    at("image").src = url;
    at("picture").hidden = false;
  }
  at("answer").textContent = `${blob.size} bytes of ${type}`;
}

async function send(event) {
  event.preventDefault();
  if (running) {
    return;
  }
  const api = current();
  const request = api.isForm
    ? { method: "POST", body: formData() }
    : { method: "POST", body: at("body").value, headers: { "content-type": "application/json" } };
  running = new AbortController();
  at("send").disabled = true;
  at("stop").hidden = false;
  clear();
  tell("Sent, waiting.");
  const began = performance.now();
  const ms = () => `${(performance.now() - began).toFixed(1)} ms`;
  let head = "";
  try {
    const response = await fetch(api.path, { ...request, signal: running.signal });
    const type = (response.headers.get("content-type") ?? "").split(";")[0];
    const isStream = type === "application/x-ndjson" || type === "text/event-stream";
    head = `${response.status} ${response.statusText}`.trim();
    const id = response.headers.get("x-request-id");
    tell(`${head}, first byte after ${ms()}`, response.ok ? "good" : "bad");
    await (isStream ? showStream(response) : showWhole(response, type));
    tell(`${head} in ${ms()}, request ${id}`, response.ok ? "good" : "bad");
  } catch (error) {
    const why = running.signal.aborted ? "Stopped" : `Broken off: ${error.message}`;
    tell(`${head ? head + ", then: " : ""}${why} after ${ms()}`, "bad");
  } finally {
    running = null;
    at("send").disabled = false;
    at("stop").hidden = true;
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    at("copied").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(at("curl"));
    at("copied").textContent = "Selected: copy it with Ctrl + C";
  }
}

async function begin() {
  const response = await fetch("/openapi.json");
  const spec = await response.json();
  document.title = `Try ${spec.info.title}`;
  at("name").textContent = `${spec.info.title} ${spec.info.version === "0" ? "" : spec.info.version}`;
  at("about").textContent = spec.info.description;
  apis = apisOf(spec);
  at("api").replaceChildren(...apis.map(({ path }) => new Option(`POST ${path}`)));
  at("api").addEventListener("change", show);
  at("body").addEventListener("input", check);
  at("form-fields").addEventListener("input", check);
  at("request").addEventListener("submit", send);
  at("request").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      at("request").requestSubmit();
    }
  });
  at("stop").addEventListener("click", () => running?.abort());
  at("copy").addEventListener("click", copy);
  show();
}

begin().catch((error) => tell(`The page could not be made: ${error.message}`, "bad"));
