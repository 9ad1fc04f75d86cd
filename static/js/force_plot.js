// Draws shap's own force plot (window.SHAP, from the installed package) from the JSON in data-force-plot.
// The plot is for the eye alone: the table of the page holds the same values and effects as text.

const SHAP = window.SHAP;
// Before a text, shap leaves it as it is: it would write 00701 as 701, and 12345.67 as 1.235e+4.
const VERBATIM = "\u2060";
// Up and down as shap is told; explanations.css puts the theme's colours in their place.
const COLOURS = ["#c2410c", "#1c3f94"];
// Where base and result lie closer than this, their labels would cover each other.
const LABEL_ROOM_PX = 110;
const TICK_ROOM_PX = 44;
const drawings = new Map();

function isCrowded(plot, width) {
  const sum = (sign) => plot.features.reduce((total, { effect }) => total + Math.max(0, sign * effect), 0);
  const [up, down] = [sum(1), sum(-1)];
  return (Math.abs(up - down) / (3 * Math.max(up, down))) * width < LABEL_ROOM_PX;
}

function draw(host) {
  const plot = JSON.parse(host.dataset.forcePlot);
  if (!SHAP || plot.features.length === 0) return;
  const features = {};
  plot.features.forEach(({ value, effect }, place) => {
    features[place] = { effect, value: value === "" ? "" : VERBATIM + value };
  });
  const drawing = { root: SHAP.ReactDOM.createRoot(host), visualizer: null };
  drawing.root.render(
    SHAP.React.createElement(SHAP.AdditiveForceVisualizer, {
      ref: (visualizer) => {
        drawing.visualizer ??= visualizer;
      },
      baseValue: plot.base,
      link: "identity",
      featureNames: plot.features.map(({ name }) => name),
      features,
      outNames: [plot.outcome],
      labelMargin: 20,
      plot_cmap: COLOURS,
      hideBaseValueLabel: isCrowded(plot, host.offsetWidth),
    }),
  );
  drawings.set(host, drawing);
  // It draws a little later, and again whenever the window changes.
  new MutationObserver(() => tidy(host, plot.isChance)).observe(host, { childList: true, subtree: true });
}

// Ticks that say nothing: those under the result, and those where no chance can be, below 0 % and above 100 %.
function tidy(host, isChance) {
  const result = host.querySelector("text[stroke-width='6']");
  if (!result) return;
  const place = Number(result.getAttribute("x"));
  for (const tick of host.querySelectorAll(".tick")) {
    const number = Number(tick.textContent.replace("\u2212", "-").replaceAll(",", ""));
    const x = tick.transform.baseVal[0]?.matrix.e ?? 0;
    tick.toggleAttribute("hidden", Math.abs(x - place) < TICK_ROOM_PX || (isChance && (number < 0 || number > 100)));
  }
  // Where the plot is wider than the screen, it opens at the result.
  const frame = host.closest(".force");
  if (!frame.dataset.placed) {
    frame.scrollLeft = place + host.offsetLeft - frame.clientWidth / 2;
    frame.dataset.placed = "yes";
  }
}

function drawAll() {
  for (const host of document.querySelectorAll("[data-force-plot]")) {
    if (!drawings.has(host)) draw(host);
  }
}

// shap listens to the window until it is told to stop, and may have put off a drawing that then finds nothing.
document.addEventListener("htmx:beforeCleanupElement", ({ target }) => {
  const drawing = drawings.get(target);
  if (!drawing) return;
  if (drawing.visualizer) drawing.visualizer.draw = () => {};
  drawing.root.unmount();
  drawings.delete(target);
});
document.addEventListener("htmx:afterSettle", drawAll);
drawAll();
