// Beside the fields of an override: presets for its end, and what a factor means.

const DAY_MS = 86400000;
const PRESETS = [["1 day", 1], ["1 week", 7], ["30 days", 30]];

// The fields hold a time of the person's zone without naming it, so it is counted as if it were UTC.
function plusDays(local, days) {
  const moment = new Date(`${local}Z`);
  return Number.isNaN(moment.getTime()) ? "" : new Date(moment.getTime() + days * DAY_MS).toISOString().slice(0, 16);
}

for (const end of document.querySelectorAll("input[data-presets]")) {
  const row = document.createElement("div");
  row.className = "presets";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "Presets for the end");
  const isExtension = end.dataset.presets === "extend";
  const present = end.value;
  for (const [words, days] of PRESETS) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button--preset";
    button.textContent = isExtension ? `+${words}` : words;
    button.addEventListener("click", () => {
      const start = isExtension ? present : end.form?.elements.namedItem("starts_at")?.value;
      end.value = plusDays(start > end.dataset.now ? start : end.dataset.now, days);
      end.dispatchEvent(new Event("input", { bubbles: true }));
    });
    row.append(button);
  }
  end.after(row);
}

function factorWords(factor) {
  if (!(factor > 0)) return ["", false];
  if (factor === 1) return ["×1 changes nothing", true];
  const number = factor.toLocaleString("en-GB", { maximumFractionDigits: 2 });
  if (factor === 2) return ["×2: twice the score", false];
  if (factor === 0.5) return ["×0.5: half the score", true];
  return factor > 1 ? [`×${number}: the score counts ${number} times`, false] : [`×${number}: the score shrinks to ${Math.round(factor * 100)} %`, true];
}

for (const field of document.querySelectorAll("input[data-factor]")) {
  const place = document.createElement("p");
  place.setAttribute("role", "status");
  field.after(place);
  const show = () => {
    const [words, isDown] = factorWords(field.valueAsNumber);
    place.className = isDown ? "factor-words factor-words--down" : "factor-words";
    place.textContent = words;
  };
  field.addEventListener("input", show);
  show();
}
