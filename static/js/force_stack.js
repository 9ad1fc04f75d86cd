// Draws shap's own stacked force plot (window.SHAP, from the installed package) from the JSON block #stack-data.
// The picture is for the eye alone: the table of the page holds the same. Its two lists of choices have no labels
// and cannot sort by text, so the page has its own, and shap's are hidden.

const SHAP = window.SHAP;
const host = document.querySelector("[data-stack-plot]");
const data = document.getElementById("stack-data");
const order = document.querySelector("[data-stack-order]");
const show = document.querySelector("[data-stack-show]");
const hint = document.querySelector("[data-stack-hint]");
const collator = new Intl.Collator("en-GB", { numeric: true });

const ORDERS = {
  near: (a, b) => a.near - b.near,
  score: (a, b) => total(b) - total(a),
  newest: () => 0,
};

const total = ({ effects }) => effects.reduce((sum, effect) => sum + effect, 0);

// Fixed when shap's component is made; css/pages/stack.css puts the theme's colours in their place.
const COLOURS = ["#c2410c", "#1c3f94"];

let plot;
let explanations;
let drawn;

// shap sorts by simIndex when asked for what is alike. Columns of equal values stay newest first.
function arrange() {
  const layer = Number(order.value);
  const compare = ORDERS[order.value] ?? ((a, b) => collator.compare(a.values[layer], b.values[layer]));
  const places = plot.rows.map((_, place) => place).sort((a, b) => compare(plot.rows[a], plot.rows[b]));
  places.forEach((row, place) => { explanations[row].simIndex = place; });
}

// Once: shap's component would empty its style sheet when it is given other properties, which breaks the policy.
function begin() {
  explanations = plot.rows.map((row) => ({
    outValue: total(row),
    features: Object.fromEntries(row.effects.map((effect, layer) => [layer, { effect, value: row.values[layer] }])),
  }));
  arrange();
  SHAP.ReactDOM.createRoot(host).render(
    SHAP.React.createElement(SHAP.AdditiveForceArrayVisualizer, {
      // shap keeps to itself which column is pointed at; the component says it.
      ref: (component) => { drawn = component; },
      baseValue: plot.base,
      link: "identity",
      featureNames: plot.layers,
      outNames: [plot.outcome],
      plot_cmap: COLOURS,
      explanations,
    }),
  );
  narrow();
}

// The hidden list of shap decides which layers are drawn; it is filled a moment after the first drawing.
function narrow(tries = 20) {
  const list = host.querySelector(".additive-force-array-ylabel");
  const wanted = show.value === "" ? "model output value" : plot.layers[Number(show.value)];
  if (!list || ![...list.options].some(({ value }) => value === wanted)) {
    if (tries > 0) setTimeout(narrow, 50, tries - 1);
    return;
  }
  if (list.value === wanted) return;
  list.value = wanted;
  list.onchange();
}

function pointed() {
  return plot.rows[drawn?.nearestExpIndex];
}

function start() {
  plot = JSON.parse(data.textContent);
  const words = hint.textContent;
  host.addEventListener("mousemove", () => {
    const row = pointed();
    if (row) hint.textContent = `${row.subject}: ${row.score}`;
  });
  host.addEventListener("mouseleave", () => { hint.textContent = words; });
  // shap would raise an alert. Where there is nothing to point with, a tap shows the values and goes nowhere.
  host.addEventListener("click", (event) => {
    event.stopPropagation();
    const row = pointed();
    if (row && matchMedia("(hover: hover)").matches) location.assign(row.url);
  }, { capture: true });
  order.addEventListener("change", () => {
    arrange();
    drawn.internalDraw();
  });
  show.addEventListener("change", () => narrow());
  begin();
}

if (SHAP && host && data) start();
