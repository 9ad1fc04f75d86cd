// data-copy="TEXT" on a button: copies the text and says so.

import { announce } from "./announce.js";

const SHOWN_MS = 1500;

async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http on another host has no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const worked = document.execCommand("copy");
  area.remove();
  if (!worked) throw new Error("copy refused");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await toClipboard(button.dataset.copy);
  } catch {
    announce("Your browser did not let us copy. Select the text instead.");
    return;
  }
  announce(`Copied ${button.dataset.copy}`);
  const use = button.querySelector("use");
  const before = use?.getAttribute("href");
  if (!use || button.hasAttribute("data-done")) return;
  button.setAttribute("data-done", "");
  use.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => {
    button.removeAttribute("data-done");
    use.setAttribute("href", before);
  }, SHOWN_MS);
});
