// An array as a table of cells, as text, out of a file, or drawn; all of them are the same value.
//
//   cells, text, file, drawing ──► held { json, shape } ──► json()
//
// The text may be JSON, or rows as a spreadsheet copies them.  What is too long to be shown is held.

import { readNpy, readText, rowsOf } from "./try-arrays.js";
import { arrayDrawing } from "./try-draw.js";
import { html, labelText, pretty } from "./try-html.js";

const SHOWN_CHARS = 100_000;

export function arrayField(field, changed) {
  const text = html("textarea", { id: `field-${field.name}`, rows: 5, spellcheck: false, autocomplete: "off" });
  const file = html("input", { type: "file", id: `file-${field.name}`, accept: ".npy,.csv,.tsv,.txt,.json" });
  const status = html("p", { className: "hint", role: "status", id: `shape-${field.name}` });
  const table = html("div", { className: "table" });
  let held = null;
  let trouble = null;

  const tell = () => {
    status.textContent = trouble ?? `Shape ${held.shape.join(" × ") || "of one value"}`;
    status.classList.toggle("bad", trouble !== null);
  };
  const hold = (made, { keepsText = false, keepsTable = false } = {}) => {
    trouble = null;
    held = made;
    if (!keepsText) {
      const isShown = made.json.length <= SHOWN_CHARS;
      text.value = isShown ? made.json : "";
      text.placeholder = isShown ? "" : `${made.json.length} characters are held, too many to show`;
    }
    if (!keepsTable) {
      const rows = rowsOf(made.json, made.shape);
      const read = (json) => attempt(() => readText(json, field.shape, field.dtype), { keepsTable: true });
      table.replaceChildren(...(rows ? tableOf(rows, field, made.shape, read) : []));
      table.hidden = rows === null;
    }
    tell();
    changed();
  };
  const refuse = (error) => {
    trouble = `${field.name}: ${error.message}`;
    tell();
    changed();
  };
  const attempt = (read, options) => {
    try {
      hold(read(), options);
    } catch (error) {
      refuse(error);
    }
  };
  text.addEventListener("input", () => {
    attempt(() => readText(text.value, field.shape, field.dtype), { keepsText: true });
  });
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (chosen) {
      const isNpy = chosen.name.endsWith(".npy");
      const data = await (isNpy ? chosen.arrayBuffer() : chosen.text());
      attempt(() => (isNpy ? readNpy(data, field.shape) : readText(data, field.shape, field.dtype)));
    }
  });
  const fill = (value) => {
    if (value === undefined || value === null) {
      held = null;
      trouble = null;
      text.value = "";
      status.textContent = "";
      table.hidden = true;
    } else {
      attempt(() => readText(pretty(value), field.shape, field.dtype));
    }
  };
  const element = html(
    "fieldset",
    {},
    html("legend", { textContent: labelText(field) }),
    table,
    html("label", { htmlFor: text.id, textContent: "As text: JSON, or rows as a spreadsheet copies them" }),
    text,
    html("label", { htmlFor: file.id, textContent: "Out of a file: .npy, .csv, .json" }),
    file,
    ...[arrayDrawing(field, (numbers) => attempt(() => readText(numbers, field.shape, field.dtype)))].filter(Boolean),
    status,
  );
  text.setAttribute("aria-describedby", status.id);
  fill(field.start);
  const json = () => {
    if (trouble !== null) {
      throw new Error(trouble);
    }
    if (held === null && field.isRequired) {
      throw new Error(`${field.name} is missing`);
    }
    return held?.json;
  };
  return { element, json, fill };
}

function tableOf(rows, field, shape, changed) {
  const cells = rows.map((row) => [...row]);
  const isList = shape.length === 1;
  const mayGrow = !isList && (field.shape === undefined || field.shape[0] === null);
  const json = () => {
    const lines = cells.map((row) => `[${row.join(", ")}]`);
    return isList ? lines[0] : `[${lines.join(",\n ")}]`;
  };
  const said = () => changed(json());
  const put = (row, column, value) => {
    if (cells[row]?.[column] !== undefined && value.trim() !== "") {
      cells[row][column] = value.trim();
    }
  };
  const body = html("tbody");
  const draw = () => body.replaceChildren(...cells.map((row, i) => html("tr", {}, ...row.map((_, j) => cell(i, j)))));
  const cell = (row, column) => {
    const input = html("input", { value: cells[row][column], inputMode: "decimal", autocomplete: "off" });
    input.setAttribute("aria-label", `${field.name}, row ${row + 1}, column ${column + 1}`);
    input.addEventListener("input", () => {
      put(row, column, input.value);
      said();
    });
    input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text").trim();
      if (/[\s,;]/.test(text)) {
        event.preventDefault();
        text.split(/\r?\n/).forEach((line, i) => {
          line.split(/[\s,;]+/).forEach((one, j) => put(row + i, column + j, one));
        });
        draw();
        said();
      }
    });
    return html("td", {}, input);
  };
  const more = html("button", { type: "button", textContent: "Add a row", hidden: !mayGrow });
  const less = html("button", { type: "button", textContent: "Remove the last row", hidden: !mayGrow });
  more.addEventListener("click", () => {
    cells.push(cells.at(-1).map((one) => (/^(true|false)$/.test(one) ? "false" : "0")));
    draw();
    said();
  });
  less.addEventListener("click", () => {
    if (cells.length > 1) {
      cells.pop();
      draw();
      said();
    }
  });
  draw();
  return [html("div", { className: "cells" }, html("table", {}, body)), html("p", {}, more, " ", less)];
}
