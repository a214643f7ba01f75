// Arrays as people have them: JSON, rows of a spreadsheet, .npy files.
//
//   text ──readText──┐
//   .npy ──readNpy───┴─► { json, shape }     every number as it was written, or an Error for people
//
// `shape` of an api is a list of lengths, null for one of any length; undefined: any shape.

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

export function readText(text, shape, dtype) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[") || shape?.length === 0) {
    return { json: trimmed, shape: shapeOfValue(JSON.parse(trimmed)) };
  }
  if (!trimmed) {
    throw new Error("there is nothing in it");
  }
  const rows = dtype === "str" ? [linesOf(trimmed)] : numbersOf(trimmed, dtype);
  const width = rows[0].length;
  const odd = rows.findIndex((row) => row.length !== width);
  if (odd > 0) {
    throw new Error(`row ${odd + 1} has ${rows[odd].length} values, the first has ${width}`);
  }
  const found = rows.length > 1 ? [rows.length, width] : [width];
  return nested(rows.flat(), fitted(found, shape));
}

function linesOf(text) {
  return text.split(/\r?\n/).map((line) => JSON.stringify(line));
}

function numbersOf(text, dtype) {
  const rows = text
    .split(/\r?\n/)
    .map((line) => line.split(/[\s,;]+/).filter(Boolean))
    .filter((row) => row.length);
  const isHead = rows.length > 1 && rows[0].every((cell) => token(cell, dtype) === null);
  return rows.slice(isHead ? 1 : 0).map((row) =>
    row.map((cell) => {
      const one = token(cell, dtype);
      if (one === null) {
        throw new Error(`'${cell.slice(0, 40)}' is not ${dtype === "bool" ? "true or false" : "a number"}`);
      }
      return one;
    }),
  );
}

function token(cell, dtype) {
  if (dtype === "bool") {
    return { true: "true", false: "false", 1: "true", 0: "false" }[cell.toLowerCase()] ?? null;
  }
  if (NUMBER.test(cell)) {
    return cell;
  }
  return cell !== "" && Number.isFinite(Number(cell)) ? String(Number(cell)) : null;
}

const product = (lengths) => lengths.reduce((all, one) => all * one, 1);

// The shape that values of the shape `found` take in an api: as they are, or the same values in order.
function fitted(found, wanted) {
  const fits = (shape) =>
    shape.length === wanted.length && shape.every((n, i) => wanted[i] === null || wanted[i] === n);
  if (!wanted || fits(found)) {
    return found;
  }
  const open = wanted.filter((length) => length === null).length;
  const known = product(wanted.map((length) => length ?? 1));
  const rest = known ? product(found) / known : 0;
  if (open === 1 && Number.isInteger(rest)) {
    return wanted.map((length) => length ?? rest);
  }
  if (open === 2 && wanted.length === 2 && found.length === 1) {
    return [1, found[0]];
  }
  if (open === 0 && rest === 1) {
    return wanted;
  }
  const text = wanted.map((length) => length ?? "any").join(" × ");
  throw new Error(`${product(found)} values do not make up ${text}`);
}

function nested(tokens, shape) {
  let at = 0;
  const level = (depth, indent) => {
    if (depth === shape.length) {
      return tokens[at++];
    }
    const parts = Array.from({ length: shape[depth] }, () => level(depth + 1, indent + " "));
    return `[${parts.join(depth === shape.length - 1 ? ", " : `,\n${indent} `)}]`;
  };
  return { json: level(0, ""), shape };
}

export function shapeOfValue(value) {
  const shape = [];
  for (let at = value; Array.isArray(at); at = at[0]) {
    shape.push(at.length);
  }
  return shape;
}

// The rows of a value that fits a table, as texts; null for one that does not.
export function rowsOf(json, shape) {
  if (shape.length < 1 || shape.length > 2 || !shape.every((n) => n > 0 && n <= 20)) {
    return null;
  }
  const cells = json.match(/"(?:[^"\\]|\\.)*"|[^\s[\],]+/g) ?? [];
  const width = shape.at(-1);
  if (cells.length !== product(shape) || cells.some((cell) => cell.startsWith('"'))) {
    return null;
  }
  return Array.from({ length: cells.length / width }, (_, i) => cells.slice(i * width, (i + 1) * width));
}

const HEAD = /'descr':\s*'([<>|=])([a-z])(\d+)'.*'fortran_order':\s*(True|False).*'shape':\s*\(([^)]*)\)/s;

// The format of .npy files: NumPy Enhancement Proposal 1.
export function readNpy(buffer, shape) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (bytes.length < 12 || String.fromCharCode(...bytes.slice(1, 6)) !== "NUMPY") {
    throw new Error("this is no .npy file");
  }
  const isOld = bytes[6] === 1;
  const begin = isOld ? 10 : 12;
  const end = begin + (isOld ? view.getUint16(8, true) : view.getUint32(8, true));
  const head = HEAD.exec(new TextDecoder("latin1").decode(bytes.slice(begin, end)));
  const read = head && READERS[head[2] + head[3]];
  if (!read) {
    throw new Error("only .npy files of plain numbers can be read");
  }
  const size = Number(head[3]);
  const lengths = head[5].split(",").map((one) => one.trim()).filter(Boolean).map(Number);
  if (bytes.length - end !== product(lengths) * size) {
    throw new Error("the .npy file is cut short");
  }
  const isLittle = head[1] !== ">";
  const places = head[4] === "True" ? columnFirst(lengths) : (index) => index;
  const tokens = Array.from({ length: product(lengths) }, (_, index) => {
    const one = read(view, end + places(index) * size, isLittle);
    if (one === "NaN" || one.endsWith("Infinity")) {
      throw new Error("NaN and infinities have no form in JSON: send the file itself");
    }
    return one;
  });
  return nested(tokens, fitted(lengths, shape));
}

// Where the element with an index in rows stands in a file that has columns first.
function columnFirst(lengths) {
  return (index) => {
    let at = 0;
    for (let axis = lengths.length - 1; axis >= 0; axis -= 1) {
      at += (index % lengths[axis]) * product(lengths.slice(0, axis));
      index = Math.floor(index / lengths[axis]);
    }
    return at;
  };
}

const READERS = {
  b1: (view, at) => String(view.getUint8(at) !== 0),
  i1: (view, at) => String(view.getInt8(at)),
  i2: (view, at, little) => String(view.getInt16(at, little)),
  i4: (view, at, little) => String(view.getInt32(at, little)),
  i8: (view, at, little) => String(view.getBigInt64(at, little)),
  u1: (view, at) => String(view.getUint8(at)),
  u2: (view, at, little) => String(view.getUint16(at, little)),
  u4: (view, at, little) => String(view.getUint32(at, little)),
  u8: (view, at, little) => String(view.getBigUint64(at, little)),
  f2: (view, at, little) => decimal(half(view.getUint16(at, little))),
  f4: (view, at, little) => shortest(view.getFloat32(at, little)),
  f8: (view, at, little) => decimal(view.getFloat64(at, little)),
};

const decimal = (value) => (Object.is(value, -0) ? "-0.0" : String(value));

// IEEE 754 binary16.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) {
    return fraction ? NaN : sign * Infinity;
  }
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

// The shortest text that is the same float32: 0.1 and not 0.10000000149011612.
function shortest(value) {
  for (let digits = 6; value !== 0 && digits <= 9; digits += 1) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) {
      return String(text);
    }
  }
  return decimal(value);
}
