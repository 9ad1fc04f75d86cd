// Tells people who cannot see the page what has just changed on it.

const region = document.getElementById("announce");

/** Let screen readers say `text`. The same text twice in a row is said once. */
export function announce(text) {
  if (region && region.textContent !== text) region.textContent = text;
}

// A fragment that htmx brings may say it by itself: data-announce="Live on 3 of 3 rankers".
document.addEventListener("htmx:afterSettle", (event) => {
  const target = event.detail.elt;
  const speaker = target.closest?.("[data-announce]") ?? target.querySelector?.("[data-announce]");
  if (speaker) announce(speaker.dataset.announce);
});
