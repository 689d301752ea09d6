// Draws every <figure data-chart> from the Vega-Lite text inside it, in the colours of style.css.
import "./vendor/vega.bundle.js";

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// What each style named in service/charts.py looks like. No colour is written down here.
function look() {
  const [quiet, rule, accent, good, sans] =
    ["--ink-2", "--rule", "--accent", "--good", "--sans"].map(token);
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
    legend: { labelColor: quiet, titleColor: quiet, titleFontWeight: 400, labelFontSize: 11, titleFontSize: 11, symbolStrokeColor: accent },
    style: {
      test: { color: accent, strokeWidth: 2 },
      "test-point": { color: accent, opacity: 1, size: 26 },
      training: { color: quiet, strokeWidth: 1.25, strokeDash: [4, 3] },
      band: { color: accent, opacity: 0.16 },
      whisker: { color: accent, strokeWidth: 1.5, opacity: 0.6 },
      bound: { color: good, strokeWidth: 1.25, strokeDash: [1, 3] },
      hover: { color: accent, size: 60, opacity: 0 },
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
