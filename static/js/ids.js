// data-count-ids on a textarea: says how many IDs have been pasted, and how many of them twice.
// data-max-ids: warns above it. The server counts again; this is only a hint.

const WAIT_MS = 150;

function words(text, max) {
  const ids = text.split(/[\n\r\t,]+/).map((id) => id.trim()).filter(Boolean);
  const distinct = new Set(ids).size;
  if (ids.length === 0) return "";
  const number = (n) => n.toLocaleString("en-GB");
  const parts = [`${number(distinct)} ${distinct === 1 ? "ID" : "IDs"}`];
  if (distinct < ids.length) parts.push(`${number(ids.length - distinct)} given twice`);
  if (max && distinct > max) parts.push(`more than the ${number(max)} that fit in one go: import a CSV file instead`);
  return parts.join(", ");
}

for (const area of document.querySelectorAll("textarea[data-count-ids]")) {
  const place = document.createElement("p");
  place.className = "field__count";
  place.setAttribute("role", "status");
  area.after(place);
  let timer;
  const show = () => {
    place.textContent = words(area.value, Number(area.dataset.maxIds || 0));
  };
  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, WAIT_MS);
  });
  show();
}
