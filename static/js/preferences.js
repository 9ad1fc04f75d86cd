// Theme, density, folded rail, keys: data-prefer="NAME" data-word="VALUE" on a button.
// Kept in a cookie, so that the server draws the page right from the start.

import { announce } from "./announce.js";

const root = document.documentElement;
const YEAR = 31536000;
const ONE_OF_SEVERAL = new Set(["theme"]); // The others are switches: a second press turns them off.

function set(name, word) {
  if (word) root.dataset[name] = word;
  else delete root.dataset[name];
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${word}; Path=/; Max-Age=${word ? YEAR : 0}; SameSite=Lax${secure}`;
}

function show() {
  for (const button of document.querySelectorAll("[data-prefer]")) {
    const { prefer, word } = button.dataset;
    button.setAttribute("aria-pressed", String((root.dataset[prefer] ?? "") === word));
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-prefer]");
  if (!button) return;
  const { prefer, word } = button.dataset;
  const isChoice = ONE_OF_SEVERAL.has(prefer);
  const next = !isChoice && root.dataset[prefer] === word ? "" : word;
  set(prefer, next);
  show();
  announce(`${button.getAttribute("aria-label") ?? button.textContent.trim()}: ${isChoice || next ? "on" : "off"}`);
});

document.addEventListener("htmx:afterSettle", show);
show();
