// The try-it page: reads /openapi.json, sends what the form holds, shows what comes back.
//
//   document ──operations──► show ──► fields, JSON or a file ──request──► fetch ──► try-answer
//                                                               └───────► snippet (try-snippets)
//
// What is sent and what the snippets say is one value, made by try-request.

import { clear, showAnswer, tell } from "./try-answer.js";
import { contractsOf, operationsOf } from "./try-document.js";
import { fieldFor } from "./try-fields.js";
import { html, parse, pretty } from "./try-html.js";
import { BODY_FILE, jsonOf, requestOf } from "./try-request.js";
import { LANGUAGES, snippet } from "./try-snippets.js";

const at = (id) => document.getElementById(id);
const MODES = { fields: "Fields", json: "JSON", raw: "A file as it is" };
const GROUPS = { apis: "Apis", health: "Health" };

let operations = [];
let fields = [];
let running = null;

const current = () => operations[at("api").selectedIndex];
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;
const choose = (name, value) => {
  document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
};

function modesOf(operation) {
  if (operation.method === "GET") {
    return [];
  }
  const { rawTypes } = operation;
  const takesFile = ["application/x-npy", "image/*"].some((type) => rawTypes.includes(type)) || operation.takesForms;
  return [
    ...(operation.fields.length ? ["fields"] : []),
    "json",
    ...(takesFile && rawTypes.length && operation.tag === "apis" ? ["raw"] : []),
  ];
}

function show() {
  const operation = current();
  const modes = modesOf(operation);
  at("api-doc").textContent = operation.doc;
  at("modes").replaceChildren(html("legend", { textContent: "Request as" }), ...radios("mode", modes, MODES));
  at("modes").hidden = modes.length < 2;
  fields = [];
  fields = operation.fields.map((one) => fieldFor(one, check));
  at("fields").replaceChildren(...fields.map((one) => one.element));
  at("body").value = operation.example === undefined ? "" : pretty(operation.example);
  at("raw").value = "";
  at("raw").accept = operation.rawTypes.includes("application/x-npy") ? ".npy" : "";
  at("accept").replaceChildren(...operation.answers.map((type) => new Option(type)));
  at("accept-field").hidden = operation.answers.length < 2;
  if (modes.length) {
    choose("mode", modes[0]);
  }
  turn();
  clear();
  tell("Nothing was sent yet.");
}

function radios(name, values, words) {
  return values.map((value) => {
    const input = html("input", { type: "radio", name, value, id: `${name}-${value}` });
    return html("span", { className: "choice" }, input, html("label", { htmlFor: input.id, textContent: words[value] }));
  });
}

// Show the part of the form that belongs to the mode; the JSON begins with what the fields hold.
function turn(event) {
  const mode = chosen("mode");
  if (event && mode === "json" && fields.length) {
    try {
      at("body").value = jsonOf(fields);
    } catch {
      // A field is not filled yet: the JSON stays what it was.
    }
  } else if (event && mode === "fields") {
    fillFields(at("body").value);
  }
  at("fields").hidden = mode !== "fields";
  at("json-field").hidden = mode !== "json";
  at("raw-field").hidden = mode !== "raw";
  check();
}

function fillFields(text) {
  try {
    const body = parse(text);
    fields.forEach((one) => one.fill(body[one.name]));
  } catch {
    // What is no JSON changes no field.
  }
}

// The request that the form holds; raises an Error for people.
function request() {
  return requestOf(current(), {
    mode: chosen("mode"),
    fields,
    text: at("body").value,
    file: at("raw").files[0],
    accept: at("accept").value,
  });
}

// Say what is wrong with the form as it stands, and write the snippet.
function check() {
  if (fields.length !== current().fields.length) {
    return; // they are being made
  }
  let trouble = "";
  if (chosen("mode") === "json") {
    try {
      JSON.parse(at("body").value);
    } catch (error) {
      trouble = "Not valid JSON: " + error.message;
    }
  }
  at("body-hint").textContent = trouble;
  at("save").hidden = true;
  try {
    const made = request();
    at("snippet").textContent = snippet(chosen("language"), made);
    at("copy").disabled = false;
    if (made.body?.file === BODY_FILE && made.body.kind === "json") {
      saveAs(made.body.text);
    }
  } catch (error) {
    at("snippet").textContent = error.message;
    at("copy").disabled = true;
  }
}

function saveAs(text) {
  if (at("save-link").href) {
    URL.revokeObjectURL(at("save-link").href);
  }
  at("save-link").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  at("save").hidden = false;
}

async function send(event) {
  event.preventDefault();
  if (running) {
    return;
  }
  clear();
  let made;
  try {
    made = request();
  } catch (error) {
    tell(`Not sent: ${error.message}`, "bad");
    return;
  }
  running = new AbortController();
  at("send").disabled = true;
  at("stop").hidden = false;
  tell("Sent, waiting.");
  const began = performance.now();
  const ms = () => `${(performance.now() - began).toFixed(1)} ms`;
  let head = "";
  try {
    const { method, payload: body, headers } = made;
    const response = await fetch(current().path, { method, body, headers, signal: running.signal });
    head = `${response.status} ${response.statusText}`.trim();
    const id = response.headers.get("x-request-id");
    const kind = response.ok ? "good" : "bad";
    tell(`${head}, first byte after ${ms()}`, kind);
    await showAnswer(response, made.answer);
    tell(`${head} in ${ms()}, request ${id}`, kind);
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
    await navigator.clipboard.writeText(at("snippet").textContent);
    at("copied").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(at("snippet"));
    at("copied").textContent = "Selected: copy it with Ctrl + C";
  }
}

function showContracts(spec) {
  const contracts = contractsOf(spec);
  const grpc = spec["x-grpc"];
  at("contracts").hidden = contracts.length === 0 && !grpc;
  at("contract-list").replaceChildren(
    ...contracts.map(({ name, title, operations: paths }) =>
      html(
        "details",
        { id: `contract-${name}` },
        html("summary", {}, title, " ", html("code", { textContent: name })),
        html("ul", {}, ...paths.map(pathLine)),
      ),
    ),
    ...(grpc ? [grpcPart(grpc)] : []),
  );
}

function grpcPart({ port, services }) {
  const lines = services.map((name) => html("li", {}, html("code", { textContent: name })));
  const title = html("summary", {}, "gRPC ", html("code", { textContent: `port ${port}` }));
  return html("details", { id: "contract-grpc" }, title, html("ul", {}, ...lines));
}

function pathLine({ method, path, summary }) {
  const index = operations.findIndex((one) => one.method === method && one.path === path);
  const line = html("li", {}, html("code", { textContent: `${method} ${path}` }), ` ${summary ?? ""} `);
  if (index >= 0) {
    const use = html("button", { type: "button", className: "small", textContent: "Try" });
    use.setAttribute("aria-label", `Try ${method} ${path}`);
    use.addEventListener("click", () => {
      at("api").selectedIndex = index;
      show();
      at("api").focus();
    });
    line.append(use);
  }
  return line;
}

function listOperations(spec) {
  const titles = Object.fromEntries(spec.tags.map((tag) => [tag.name, tag.description]));
  const groups = new Map();
  for (const { tag, method, path } of operations) {
    const group = groups.get(tag) ?? html("optgroup", { label: GROUPS[tag] ?? titles[tag] ?? tag });
    group.append(new Option(`${method} ${path}`));
    groups.set(tag, group);
  }
  at("api").replaceChildren(...groups.values());
}

async function begin() {
  const response = await fetch("/openapi.json");
  const spec = parse(await response.text());
  document.title = `Try ${spec.info.title}`;
  at("name").textContent = `${spec.info.title} ${spec.info.version === "0" ? "" : spec.info.version}`;
  at("about").textContent = spec.info.description;
  at("metrics").hidden = !("/metrics" in spec.paths);
  operations = operationsOf(spec);
  listOperations(spec);
  showContracts(spec);
  at("languages").append(...radios("language", Object.keys(LANGUAGES), LANGUAGES));
  choose("language", "curl");
  at("api").addEventListener("change", show);
  at("modes").addEventListener("change", turn);
  at("languages").addEventListener("change", check);
  for (const id of ["body", "raw", "accept"]) {
    at(id).addEventListener("input", check);
  }
  at("request").addEventListener("submit", send);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      at("request").requestSubmit();
    }
  });
  at("stop").addEventListener("click", () => running?.abort());
  at("copy").addEventListener("click", copy);
  show();
}

begin().catch((error) => tell(`The page could not be made: ${error.message}`, "bad"));
