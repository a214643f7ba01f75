// What can be asked, read from the OpenAPI document.
//
//   document ──operationsOf──► [{ method, path, name, tag, doc, example, fields, answers … }]
//   document ──contractsOf───► [{ name, title, operations }]     contracts of other servers
//
// Only operations of the service itself have fields: what the contracts take is JSON of their own.

const METHODS = ["post", "get"];
const OWN = ["apis", "health"];

// Follow a reference inside the document.
export function resolved(spec, thing) {
  for (let steps = 0; thing?.$ref && steps < 20; steps += 1) {
    const keys = thing.$ref.replace(/^#\//, "").split("/");
    thing = keys.reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], spec);
  }
  return thing ?? {};
}

export function operationsOf(spec) {
  const found = [];
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS) {
      const one = item[method];
      const hasHoles = path.includes("{");
      if (one && !hasHoles && (method === "get" || content(spec, one)["application/json"])) {
        found.push(operation(spec, method, path, one));
      }
    }
  }
  const order = spec.tags.map((tag) => tag.name);
  return found.sort((a, b) => order.indexOf(a.tag) - order.indexOf(b.tag));
}

export function contractsOf(spec) {
  const others = spec.tags.filter((tag) => !OWN.includes(tag.name));
  return others.map(({ name, description }) => ({
    name,
    title: description,
    operations: Object.entries(spec.paths).flatMap(([path, item]) =>
      Object.entries(item)
        .filter(([, one]) => one?.tags?.includes(name))
        .map(([method, one]) => ({ method: method.toUpperCase(), path, summary: one.summary })),
    ),
  }));
}

const content = (spec, one) => resolved(spec, one.requestBody).content ?? {};

function operation(spec, method, path, one) {
  const bodies = content(spec, one);
  const json = bodies["application/json"] ?? {};
  const schema = resolved(spec, json.schema);
  const tag = one.tags?.[0] ?? "";
  const answers = Object.keys(resolved(spec, one.responses?.["200"]).content ?? {});
  return {
    method: method.toUpperCase(),
    path,
    tag,
    name: tag === "apis" ? one.operationId : null,
    doc: one.description ?? one.summary ?? "",
    example: json.example,
    fields: tag === "apis" ? fieldsOf(spec, schema, json.example ?? {}) : [],
    takesForms: "multipart/form-data" in bodies,
    rawTypes: Object.keys(bodies).filter((type) => !/json|form-data/.test(type)),
    answers,
    isStream: answers.includes("application/x-ndjson"),
  };
}

function fieldsOf(spec, schema, example) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, one]) => {
    const inner = withoutNull(spec, resolved(spec, one));
    return {
      name,
      ...kindOf(inner),
      what: inner["x-dtype"] ? inner.description : "",
      isRequired: required.has(name),
      start: name in example ? example[name] : one.default,
    };
  });
}

function withoutNull(spec, schema) {
  const choices = (schema.anyOf ?? []).filter((one) => one.type !== "null");
  return choices.length === 1 ? resolved(spec, choices[0]) : schema;
}

function kindOf(schema) {
  if (schema.contentEncoding === "base64") {
    return { kind: schema.contentMediaType === "image/png" ? "image" : "file" };
  }
  if (schema["x-dtype"]) {
    return { kind: "array", dtype: schema["x-dtype"], shape: shapeOf(schema) };
  }
  if (schema.enum) {
    return { kind: "choice", options: schema.enum };
  }
  const kinds = { boolean: "truth", integer: "number", number: "number", string: "text" };
  return { kind: kinds[schema.type] ?? "json" };
}

// Lengths of the axes, null for one of any length; undefined when even their number is open.
function shapeOf(schema) {
  const shape = [];
  let at = schema;
  while (at.type === "array") {
    if (Object.keys(at.items ?? {}).length === 0) {
      return undefined;
    }
    shape.push(at.minItems !== undefined && at.minItems === at.maxItems ? at.minItems : null);
    at = at.items;
  }
  return shape;
}
