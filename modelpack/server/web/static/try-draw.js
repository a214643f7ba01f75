// A place to draw on, for apis that take a picture, or an array that looks like one.
//
//   pictureDrawing(name, use) ──► an element; use(file) gets a PNG as wide as was asked for
//   arrayDrawing(field, use)  ──► an element; use(text) gets numbers from 0 to the largest value,
//                                 null for an array of another kind

import { html } from "./try-html.js";

const SIDE = 280;

export function pictureDrawing(name, use) {
  const width = html("input", { type: "number", id: `draw-width-${name}`, value: 28, min: 1, max: 1024 });
  return drawing(name, width, "Width and height, in pixels", (pad) => {
    const side = Math.min(1024, Math.max(1, Math.round(Number(width.value)) || 28));
    const done = (blob) => use(new File([blob], "drawing.png", { type: "image/png" }));
    scaled(pad, side, side).toBlob(done, "image/png");
  });
}

export function arrayDrawing({ name, dtype, shape }, use) {
  const size = sizeOf(shape);
  if (size === null || dtype === "bool" || dtype === "str") {
    return null;
  }
  const isWhole = !dtype.startsWith("float");
  const peak = html("input", { type: "number", id: `draw-peak-${name}`, value: isWhole ? 255 : 1, step: "any" });
  return drawing(name, peak, "Largest value", (pad) => {
    const [height, width] = size;
    const { data } = scaled(pad, width, height).getContext("2d").getImageData(0, 0, width, height);
    const most = Number(peak.value) || 1;
    const light = Array.from({ length: width * height }, (_, i) => (data[4 * i] * most) / 255);
    use(light.map((one) => (isWhole ? Math.round(one) : Number(one.toFixed(3)))).join(" "));
  });
}

// Height and width of the picture that a row of an array is: 28 × 28 for 784; null: it is none.
function sizeOf(shape) {
  const open = (shape ?? [null, null]).filter((length) => length === null).length;
  const fixed = (shape ?? []).filter((length) => length !== null && length !== 1);
  const root = Math.sqrt(fixed[0]);
  const size = fixed.length === 1 && Number.isInteger(root) ? [root, root] : fixed;
  return open < 2 && size.length === 2 && size.every((side) => side >= 8 && side <= 64) ? size : null;
}

// The drawing in another size.  A smaller pixel is the mean of those that it is made of: browsers
// skip most of them.
function scaled(canvas, width, height) {
  const small = html("canvas", { width, height });
  const pen = small.getContext("2d", { willReadFrequently: true });
  if (width > SIDE || height > SIDE) {
    pen.drawImage(canvas, 0, 0, width, height);
    return small;
  }
  const { data } = canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  const sums = new Float64Array(width * height);
  const counts = new Uint32Array(width * height);
  for (let i = 0; i < SIDE * SIDE; i += 1) {
    const row = Math.floor((Math.floor(i / SIDE) * height) / SIDE);
    const at = row * width + Math.floor(((i % SIDE) * width) / SIDE);
    sums[at] += data[4 * i];
    counts[at] += 1;
  }
  const image = pen.createImageData(width, height);
  sums.forEach((sum, at) => image.data.set([0, 0, 0].fill(sum / counts[at]).concat(255), 4 * at));
  pen.putImageData(image, 0, 0);
  return small;
}

// `setting` is the one thing that may be set; `take` gets the canvas.
function drawing(name, setting, words, take) {
  const canvas = html("canvas", { width: SIDE, height: SIDE, className: "canvas" });
  canvas.setAttribute("aria-label", `Draw ${name} with the pointer`);
  canvas.setAttribute("role", "img");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const light = html("input", { type: "checkbox", id: `draw-light-${name}`, checked: true });
  const wipe = () => {
    pen.fillStyle = light.checked ? "black" : "white";
    pen.fillRect(0, 0, SIDE, SIDE);
    pen.strokeStyle = light.checked ? "white" : "black";
    pen.lineWidth = SIDE / 12;
    pen.lineCap = pen.lineJoin = "round";
  };
  wipe();
  follow(canvas, pen);
  light.addEventListener("change", wipe);
  return html(
    "details",
    {},
    html("summary", { textContent: "Draw it" }),
    canvas,
    html("p", {}, html("label", { htmlFor: setting.id, textContent: words }), setting),
    html("p", { className: "line" }, light, html("label", { htmlFor: light.id, textContent: "Light on dark" })),
    html(
      "p",
      {},
      html("button", { type: "button", textContent: "Use the drawing", onclick: () => take(canvas) }),
      " ",
      html("button", { type: "button", textContent: "Wipe", onclick: wipe }),
    ),
  );
}

function follow(canvas, pen) {
  let isDown = false;
  const place = (event) => [
    (event.offsetX * SIDE) / canvas.clientWidth,
    (event.offsetY * SIDE) / canvas.clientHeight,
  ];
  canvas.addEventListener("pointerdown", (event) => {
    isDown = true;
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(...place(event));
    pen.lineTo(...place(event));
    pen.stroke();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (isDown) {
      pen.lineTo(...place(event));
      pen.stroke();
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      isDown = false;
    });
  }
}
