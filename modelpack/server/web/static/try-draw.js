// A place to draw on, for apis that take a picture.
//
//   drawing(name, use) ──► an element; use(file) is called with a PNG as wide as was asked for

import { html } from "./try-html.js";

const SIDE = 280;

export function drawing(name, use) {
  const canvas = html("canvas", { width: SIDE, height: SIDE, className: "canvas" });
  canvas.setAttribute("aria-label", `Draw ${name} with the pointer`);
  canvas.setAttribute("role", "img");
  const pen = canvas.getContext("2d");
  const width = html("input", { type: "number", id: `draw-width-${name}`, value: 28, min: 1, max: 1024 });
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
  const take = () => {
    const side = Math.min(1024, Math.max(1, Math.round(Number(width.value)) || 28));
    const small = html("canvas", { width: side, height: side });
    small.getContext("2d").drawImage(canvas, 0, 0, side, side);
    small.toBlob((blob) => use(new File([blob], "drawing.png", { type: "image/png" })), "image/png");
  };
  light.addEventListener("change", wipe);
  return html(
    "details",
    {},
    html("summary", { textContent: "Draw it" }),
    canvas,
    html("p", {}, html("label", { htmlFor: width.id, textContent: "Width and height, in pixels" }), width),
    html("p", { className: "line" }, light, html("label", { htmlFor: light.id, textContent: "Light on dark" })),
    html(
      "p",
      {},
      html("button", { type: "button", textContent: "Use the drawing", onclick: take }),
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
