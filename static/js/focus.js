// After an error the person starts at the first wrong field, or at the sentence above the form.

const wrong = document.querySelector('main [aria-invalid="true"]:not([type="hidden"])') ?? document.querySelector("[data-focus]");
wrong?.focus({ preventScroll: false });

// One press sends a form once: data-once on the form. Coming back to the page frees it again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-once")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
