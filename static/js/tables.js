// Ticking rows: data-tick-all in the head ticks every row of its form; [data-ticked] shows how many are ticked.
// Shift and a click tick everything between.

import { announce } from "./announce.js";

const ROWS = ".table__tick input[type=checkbox]:not([data-tick-all])";
let last = null;

function boxesOf(element) {
  const scope = element.closest("form") ?? element.closest("table");
  return { scope, boxes: scope ? [...scope.querySelectorAll(ROWS)] : [] };
}

function show(scope, boxes) {
  const ticked = boxes.filter((box) => box.checked).length;
  for (const place of scope.querySelectorAll("[data-ticked]")) place.textContent = ticked.toLocaleString("en-GB");
  const all = scope.querySelector("[data-tick-all]");
  if (all) {
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  }
  return ticked;
}

document.addEventListener("change", (event) => {
  if (!event.target.matches?.("[data-tick-all], " + ROWS)) return;
  const { scope, boxes } = boxesOf(event.target);
  if (event.target.matches("[data-tick-all]")) {
    for (const box of boxes) box.checked = event.target.checked;
  }
  announce(`${show(scope, boxes)} ticked`);
});

document.addEventListener("click", (event) => {
  if (!event.target.matches?.(ROWS)) return;
  const { boxes } = boxesOf(event.target);
  const from = boxes.indexOf(last);
  const to = boxes.indexOf(event.target);
  if (event.shiftKey && from >= 0 && to >= 0) {
    for (const box of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) box.checked = event.target.checked;
  }
  last = event.target;
});

// The browser may restore ticks when one comes back to the page.
window.addEventListener("pageshow", () => {
  for (const all of document.querySelectorAll("[data-tick-all]")) {
    const { scope, boxes } = boxesOf(all);
    if (scope) show(scope, boxes);
  }
});
