// data-local-time="ZONE" on a date and time field: says below it which day that is and how far away.
// Silent where the person's zone (which the server reads the field in) is not the browser's.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });

function words(value) {
  const moment = new Date(value);
  if (!value || Number.isNaN(moment.getTime())) return "";
  const seconds = (moment.getTime() - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[2];
  const day = moment.toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
  return `${day}, ${relative.format(Math.round(seconds / size), unit)}`;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

for (const field of document.querySelectorAll("input[data-local-time]")) {
  if (field.dataset.localTime !== zone) continue;
  const place = document.createElement("p");
  place.className = "field__count";
  field.after(place);
  const show = () => {
    place.textContent = words(field.value);
  };
  field.addEventListener("input", show);
  show();
}
