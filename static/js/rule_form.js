// Offers for each field of a rule's condition only what it can be asked, and a value only where one is needed.
// Without this script everything is offered, and the server says what does not fit.
const VALUELESS = new Set(["missing", "present"]);
const PATTERNS = new Set(["matches", "not_matches"]);

function suit(row) {
  const field = row.querySelector(".condition__field select");
  const operator = row.querySelector(".condition__is select");
  const asked = field.selectedOptions[0]?.dataset.operators?.split(" ").filter(Boolean) ?? [];
  for (const option of operator.options) option.hidden = option.disabled = asked.length > 0 && !asked.includes(option.value);
  if (operator.selectedOptions[0]?.disabled) operator.value = asked[0];
  row.querySelector(".condition__value").hidden = VALUELESS.has(operator.value);
  row.querySelector(".condition__case").hidden = !PATTERNS.has(operator.value);
}

for (const row of document.querySelectorAll("[data-condition-row]")) {
  suit(row);
  row.addEventListener("change", () => suit(row));
}
