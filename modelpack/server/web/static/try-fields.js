// One field a parameter, by what its schema says.
//
//   field of the document ──fieldFor──► { element, json(), part(), fill(raw), focus }
//
//   json()   the value as JSON text; undefined: left out; raises an Error for people
//   part()   the same as a part of a form: { name, file, blob } or { name, text, json }
//   fill     sets the value to what JSON text says

import { pictureDrawing } from "./try-draw.js";
import { html, labelText } from "./try-html.js";
import { arrayField } from "./try-table.js";

export function fieldFor(field, changed) {
  const make = { array: arrayField, file: fileField, image: imageField, choice: choiceField, truth: choiceField };
  const made = (make[field.kind] ?? textField)(field, changed);
  if (!made.part) {
    made.part = () => {
      const json = made.json();
      return json === undefined ? undefined : { name: field.name, json, text: formText(field, json) };
    };
  }
  const isFile = field.kind === "file" || field.kind === "image";
  return Object.assign(made, { name: field.name, isRequired: field.isRequired, isFile });
}

// A form has text where JSON has a string, else JSON.
const formText = (field, json) =>
  field.kind === "text" || (field.kind === "choice" && json.startsWith('"')) ? JSON.parse(json) : json;

function labelled(field, input) {
  input.id = `field-${field.name}`;
  input.name = field.name;
  input.required = field.isRequired;
  const label = html("label", { htmlFor: input.id, textContent: labelText(field) });
  return html("p", { className: "field" }, label, input);
}

function textField(field, changed) {
  const isText = field.kind === "text";
  const isNumber = field.kind === "number";
  const input = isNumber
    ? html("input", { type: "text", inputMode: "decimal", autocomplete: "off" })
    : html("textarea", { rows: isText ? 2 : 4, spellcheck: isText });
  const element = labelled(field, input);
  input.addEventListener("input", changed);
  const json = () => {
    if (input.value === "" && !(isText && field.isRequired)) {
      if (field.isRequired) {
        throw new Error(`${field.name} is missing`);
      }
      return undefined;
    }
    return isText ? JSON.stringify(input.value) : checked(field, input.value.trim());
  };
  const fill = (value) => {
    const isPlain = value === undefined || value === null;
    input.value = isPlain ? "" : isText ? value : JSON.stringify(value, null, isNumber ? 0 : 2);
  };
  fill(field.start);
  return { element, json, fill };
}

function checked(field, text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`${field.name}: not valid JSON: ${error.message}`);
  }
  return text;
}

function choiceField(field, changed) {
  const options = field.kind === "truth" ? [true, false] : field.options;
  const texts = options.map((one) => JSON.stringify(one));
  const shown = options.map((one) => new Option(typeof one === "string" ? one : JSON.stringify(one), JSON.stringify(one)));
  const select = html("select", {}, ...(field.isRequired ? [] : [new Option("not given", "")]), ...shown);
  const element = labelled(field, select);
  select.addEventListener("change", changed);
  const fill = (value) => {
    const text = JSON.stringify(value);
    select.value = texts.includes(text) ? text : field.isRequired ? texts[0] : "";
  };
  fill(field.start);
  return { element, json: () => select.value || undefined, fill };
}

function fileField(field, changed, accept = "") {
  const input = html("input", { type: "file", accept });
  const element = labelled(field, input);
  const note = html("span", { className: "hint", role: "status" });
  element.append(note);
  const made = { element, input, drawn: null, sample: field.start };
  input.addEventListener("change", () => {
    made.drawn = null;
    note.textContent = "";
    changed();
  });
  made.file = () => made.drawn ?? input.files[0];
  made.json = () => {
    if (made.file()) {
      throw new Error("a file stands in JSON as base64: use the fields to send it");
    }
    if (field.isRequired && made.sample === undefined) {
      throw new Error(`${field.name}: choose a file`);
    }
    return made.sample === undefined ? undefined : JSON.stringify(made.sample);
  };
  made.part = () => {
    const file = made.file();
    if (file) {
      return { name: field.name, file: file.name, blob: file };
    }
    if (field.isRequired) {
      throw new Error(`${field.name}: choose a file`);
    }
    return undefined;
  };
  made.fill = (value) => {
    made.sample = value;
  };
  return made;
}

function imageField(field, changed) {
  const made = fileField(field, show, "image/*");
  const picture = html("img", { alt: `Preview of ${field.name}`, hidden: true, className: "preview" });
  const draw = pictureDrawing(field.name, (file) => {
    made.input.value = "";
    made.drawn = file;
    preview();
    changed();
  });
  function preview() {
    if (picture.src) {
      URL.revokeObjectURL(picture.src);
    }
    const file = made.file();
    picture.hidden = !file;
    if (file) {
      picture.src = URL.createObjectURL(file);
    }
  }
  function show() {
    preview();
    changed();
  }
  made.element = html("div", { className: "field" }, made.element, picture, draw);
  return made;
}
