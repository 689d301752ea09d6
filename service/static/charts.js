// Draws every <figure data-chart> from the Vega-Lite text inside it, in the colours of style.css.
import "./vendor/vega.bundle.js";

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What each style named in service/dashboard/charts.py and service/figures looks like. No colour is written down here.
function look() {
  const [ink, quiet, rule, accent, good, paper, sans] =
    ["--ink", "--ink-2", "--rule", "--accent", "--good", "--paper", "--sans"].map(token);
  const series = ["--accent", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--series-7", "--series-8"].map(token);
  return {
    background: null,
    font: sans,
    padding: { left: 2, right: 8, top: 6, bottom: 2 },
    autosize: { type: "fit", contains: "padding" },
    view: { stroke: null },
    axis: {
      domainColor: rule, gridColor: rule, tickColor: rule, labelColor: quiet, titleColor: quiet,
      titleFontWeight: 400, labelFontSize: 11, titleFontSize: 11, titlePadding: 6,
    },
    axisX: { grid: false },
    title: { color: ink, fontSize: 12, fontWeight: 600, offset: 8 },
    range: { category: series },
    legend: { labelColor: quiet, titleColor: quiet, titleFontWeight: 400, labelFontSize: 11, titleFontSize: 11, symbolStrokeColor: accent },
    style: {
      test: { color: accent, strokeWidth: 2 },
      "test-point": { color: accent, opacity: 1, size: 26 },
      training: { color: quiet, strokeWidth: 1.25, strokeDash: [4, 3] },
      band: { color: accent, opacity: 0.16 },
      whisker: { color: accent, strokeWidth: 1.5, opacity: 0.6 },
      bound: { color: good, strokeWidth: 1.25, strokeDash: [1, 3] },
      hover: { color: accent, size: 60, opacity: 0 },
      series: { strokeWidth: 2 },
      spread: { opacity: 0.16 },
      fit: { strokeWidth: 1.25, strokeDash: [5, 4] },
      ours: { color: accent, size: 46, opacity: 1 },
      "ours-whisker": { color: accent, strokeWidth: 2.5, opacity: 0.55 },
      "ours-label": { color: ink, fontSize: 10 },
      published: { color: paper, size: 56, opacity: 1 },
      "published-whisker": { color: paper, strokeWidth: 1.5, opacity: 0.6 },
      "published-line": { color: paper, strokeWidth: 1.5, strokeDash: [5, 3] },
      "published-label": { color: paper, fontSize: 10 },
      cell: { color: ink, fontSize: 13, fontWeight: 600 },
      "cell-note": { color: quiet, fontSize: 10 },
      heat: { color: accent },
      "heat-frame": { color: paper, strokeWidth: 2, opacity: 1 },
    },
  };
}

async function draw(figure) {
  const target = figure.querySelector(".chart");
  const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  figure.drawn?.finalize();
  // ast: expressions are interpreted, so the page needs no permission to evaluate text as code.
  figure.drawn = await window.vegaEmbed(target, spec, {
    actions: false, ast: true, config: look(), defaultStyle: false, renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  });
  target.dataset.drawn = "yes";
}

// One after the other, the first on the page first: the page stays quick while dozens are drawn.
let queue = Promise.resolve();

function watch(root) {
  const figures = root.matches?.("figure[data-chart]") ? [root] : root.querySelectorAll("figure[data-chart]");
  figures.forEach((figure) => {
    queue = queue.then(() => figure.isConnected && draw(figure)).catch((error) => console.error(error));
  });
}

watch(document);
document.body.addEventListener("htmx:load", (event) => watch(event.detail.elt));
document.body.addEventListener("htmx:beforeCleanupElement", (event) => event.detail.elt.drawn?.finalize());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => watch(document));
