// What happens round the requests that htmx makes.

import { announce } from "./announce.js";

const pillWords = (pill) => {
  if (!pill.classList.contains("pill")) return;
  pill.className = "pill pill--unknown";
  pill.querySelector("use")?.setAttribute("href", pill.querySelector("use").getAttribute("href").replace(/#.*/, "#unknown"));
  for (const node of pill.childNodes) {
    if (node.nodeType === Node.TEXT_NODE && node.textContent.trim()) node.textContent = "No answer";
  }
  pill.querySelector(".pill__more")?.remove();
};

// A page nobody looks at does not poll.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.hasAttribute("data-poll")) event.preventDefault();
});

// The sign-in page never belongs in a fragment: the session has ended, so the whole page goes there.
document.addEventListener("htmx:beforeSwap", (event) => {
  const answer = event.detail.xhr.responseURL;
  if (answer && new URL(answer).pathname.startsWith("/account/sign-in/")) {
    event.preventDefault();
    location.reload();
  }
});

for (const kind of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(kind, (event) => {
    const asker = event.detail.elt;
    if (asker.hasAttribute("data-poll")) pillWords(asker);
    else announce("The portal did not answer. Nothing was changed; try again.");
  });
}
