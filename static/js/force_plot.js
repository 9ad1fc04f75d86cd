// Draws shap's own force plot (window.SHAP, from the installed package) from the JSON block that data-force-plot
// names. The plot is for the eye alone: the table of the page holds the same values and effects as text.

const SHAP = window.SHAP;
// Before a text, shap leaves it as it is: it would write 00701 as 701, and 12345.67 as 1.235e+4.
const VERBATIM = "\u2060";
// Where base and result lie closer than this, their labels would cover each other.
const LABEL_ROOM_PX = 110;
const TICK_ROOM_PX = 44;
const roots = new Map();

function colour(host, name) {
  return getComputedStyle(host.querySelector(`.force__${name}`)).color;
}

function isCrowded(plot, width) {
  const sum = (sign) => plot.features.reduce((total, { effect }) => total + Math.max(0, sign * effect), 0);
  const [up, down] = [sum(1), sum(-1)];
  return (Math.abs(up - down) / (3 * Math.max(up, down))) * width < LABEL_ROOM_PX;
}

function draw(host) {
  const plot = JSON.parse(document.getElementById(host.dataset.forcePlot).textContent);
  if (!SHAP || plot.features.length === 0) return;
  const features = {};
  plot.features.forEach(({ value, effect }, place) => {
    features[place] = { effect, value: value === "" ? "" : VERBATIM + value };
  });
  const canvas = document.createElement("div");
  canvas.className = "force__canvas";
  host.append(canvas);
  const root = SHAP.ReactDOM.createRoot(canvas);
  root.render(
    SHAP.React.createElement(SHAP.AdditiveForceVisualizer, {
      baseValue: plot.base,
      link: "identity",
      featureNames: plot.features.map(({ name }) => name),
      features,
      outNames: [plot.outcome],
      labelMargin: 20,
      plot_cmap: [colour(host, "up"), colour(host, "down")],
      hideBaseValueLabel: isCrowded(plot, host.offsetWidth),
    }),
  );
  roots.set(host, root);
  // It draws a little later, and again whenever the window changes.
  new MutationObserver(() => tidy(canvas, plot.isChance)).observe(canvas, { childList: true, subtree: true });
}

// Ticks that say nothing: those under the result, and those where no chance can be, below 0 % and above 100 %.
function tidy(canvas, isChance) {
  const result = canvas.querySelector("text[stroke-width='6']");
  if (!result) return;
  const place = Number(result.getAttribute("x"));
  for (const tick of canvas.querySelectorAll(".tick")) {
    const number = Number(tick.textContent.replace("\u2212", "-").replaceAll(",", ""));
    const x = tick.transform.baseVal[0]?.matrix.e ?? 0;
    tick.toggleAttribute("hidden", Math.abs(x - place) < TICK_ROOM_PX || (isChance && (number < 0 || number > 100)));
  }
  // Where the plot is wider than the screen, it opens at the result.
  const frame = canvas.closest(".force");
  if (!frame.dataset.placed) {
    frame.scrollLeft = place + canvas.offsetLeft - frame.clientWidth / 2;
    frame.dataset.placed = "yes";
  }
}

// shap listens to the window until it is told to stop.
function clear(host) {
  roots.get(host)?.unmount();
  roots.delete(host);
  host.querySelector(".force__canvas")?.remove();
}

function drawAll() {
  for (const host of document.querySelectorAll("[data-force-plot]")) {
    if (!roots.has(host)) draw(host);
  }
}

// Its colours are fixed when it is drawn, and those of the page change with a transition.
function redrawSoon() {
  setTimeout(() => {
    for (const host of [...roots.keys()]) {
      clear(host);
      draw(host);
    }
  }, 50);
}

document.addEventListener("htmx:beforeCleanupElement", ({ target }) => {
  if (roots.has(target)) clear(target);
});
document.addEventListener("htmx:afterSettle", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawSoon);
new MutationObserver(redrawSoon).observe(document.documentElement, { attributeFilter: ["data-theme"] });
drawAll();
