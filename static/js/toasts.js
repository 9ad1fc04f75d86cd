// Toasts leave by themselves, later when they hold an Undo, and never while someone is at them.

import { announce } from "./announce.js";

const PLAIN_MS = 8000;
const WITH_UNDO_MS = 30000;

function watch(toast) {
  if (toast.dataset.watched) return;
  toast.dataset.watched = "yes";
  const delay = toast.querySelector("form") ? WITH_UNDO_MS : PLAIN_MS;
  const text = toast.querySelector(".toast__text")?.textContent.trim();
  if (text) announce(text);
  if (toast.classList.contains("toast--error")) return;
  const leave = () => {
    if (toast.matches(":hover, :focus-within")) setTimeout(leave, 2000);
    else toast.remove();
  };
  setTimeout(leave, delay);
}

function watchAll() {
  for (const toast of document.querySelectorAll("[data-toast]")) watch(toast);
}

document.addEventListener("click", (event) => {
  event.target.closest("[data-toast-close]")?.closest("[data-toast]")?.remove();
});
document.addEventListener("htmx:afterSettle", watchAll);
watchAll();
