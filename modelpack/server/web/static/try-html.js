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

// Like JSON.stringify with two spaces, but a list of plain values stays on one line.
export function pretty(value, indent = "") {
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
