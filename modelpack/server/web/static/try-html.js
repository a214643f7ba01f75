// What all parts of the page use: elements, labels, JSON for people.
//
// Text of the service or of an answer only ever becomes textContent.

export const html = (tag, properties = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
};

export function labelText({ name, kind, what, isRequired }) {
  const words = [what || kind, ...(isRequired ? [] : ["optional"])].filter(Boolean);
  return `${name} (${words.join(", ")})`;
}

// As JSON.parse, but integers that JavaScript would round stay as they were written, where the
// browser can (JSON.rawJSON); `isExact` says whether nothing was rounded.
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const isRounded = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isRounded && JSON.rawJSON && context?.source ? JSON.rawJSON(context.source) : value;
  });
}

export const isExact = (text) => JSON.rawJSON !== undefined || !/\d{16}/.test(text);

const isPlain = (one) => one === null || typeof one !== "object" || Boolean(JSON.isRawJSON?.(one));

// Like JSON.stringify with two spaces, but a list of plain values stays on one line.
export function pretty(value, indent = "") {
  const deeper = indent + "  ";
  if (Array.isArray(value)) {
    if (value.every(isPlain)) {
      return "[" + value.map((one) => JSON.stringify(one)).join(", ") + "]";
    }
    return "[\n" + value.map((one) => deeper + pretty(one, deeper)).join(",\n") + "\n" + indent + "]";
  }
  if (!isPlain(value)) {
    const lines = Object.entries(value).map(
      ([key, one]) => deeper + JSON.stringify(key) + ": " + pretty(one, deeper),
    );
    return lines.length ? "{\n" + lines.join(",\n") + "\n" + indent + "}" : "{}";
  }
  return JSON.stringify(value);
}
