// Single keys: `/` search, `?` help, `g` and a letter (data-go), any letter of data-key, j/k/x in tables.
// Quiet while someone types, and when the person has turned them off (data-keys="off" on <html>).

const GO_WITHIN_MS = 1500;
let goUntil = 0;

function isTyping(target) {
  return target.isContentEditable || target.closest("input:not([type=checkbox], [type=radio]), textarea, select") !== null;
}

function rows() {
  return [...document.querySelectorAll("main .row-link")].filter((link) => link.getClientRects().length > 0);
}

function step(by) {
  const links = rows();
  if (links.length === 0) return false;
  const here = links.findIndex((link) => link === document.activeElement || link.closest("tr, li")?.contains(document.activeElement));
  const next = here < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(here + by, 0), links.length - 1);
  links[next].focus();
  return true;
}

function tick() {
  const box = document.activeElement?.closest("tr")?.querySelector(".table__tick input");
  box?.click();
  return Boolean(box);
}

function press(element) {
  if (!element) return false;
  if (element.matches("input:not([type=checkbox], [type=radio]), textarea, select")) element.focus();
  else element.click();
  return true;
}

function act(key) {
  if (goUntil > Date.now()) {
    goUntil = 0;
    return press(document.querySelector(`[data-go="${CSS.escape(key)}"]`));
  }
  switch (key) {
    case "/": {
      const search = document.getElementById("search");
      search?.focus();
      search?.select();
      return Boolean(search);
    }
    case "?": {
      const help = document.getElementById("keys");
      if (help && !help.open) help.showModal();
      return Boolean(help);
    }
    case "g":
      goUntil = Date.now() + GO_WITHIN_MS;
      return true;
    case "j":
      return step(1);
    case "k":
      return step(-1);
    case "x":
      return tick();
    default:
      return press([...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find((element) => element.getClientRects().length > 0));
  }
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") {
    if (event.target.id === "search") event.target.blur();
    return;
  }
  if (event.key.length !== 1 || isTyping(event.target) || document.documentElement.dataset.keys === "off") return;
  if (document.querySelector("dialog[open]")) return;
  if (act(event.key)) event.preventDefault();
});
