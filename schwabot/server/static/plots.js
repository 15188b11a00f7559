// Plots of past runs, by plotly: they stand still and can be zoomed. It is loaded when the first of them is shown.

import { h } from "./dom.js";
import { colours, look, onTheme } from "./theme.js";

let loading = null;
const drawn = new Map();

function load() {
  loading ??= new Promise((done, failed) => {
    const script = h("script", { src: "/static/plotly.min.js" });
    script.addEventListener("load", () => done(window.Plotly));
    script.addEventListener("error", () => failed(new Error("plotly can't be loaded from this server")));
    document.head.append(script);
  });
  return loading;
}

const axis = (title, of, more = {}) => ({
  title: { text: title }, gridcolor: of.grid, zerolinecolor: of.muted, linecolor: of.grid, automargin: true, ...more,
});

/**
 * Draw on a node.
 * @param {HTMLElement} node
 * @param {(colours: Object, look: (v: number) => Object) => {data: Array, x: string, y: string, xaxis?: Object, yaxis?: Object}} make
 */
export async function plot(node, make) {
  drawn.set(node, make);
  const plotly = await load();
  if (drawn.get(node) !== make) return;
  const of = colours();
  const { data, x, y, xaxis, yaxis } = make(of, look);
  const layout = {
    font: { family: "system-ui, sans-serif", size: 12, color: of.text },
    paper_bgcolor: of.panel, plot_bgcolor: of.panel, margin: { l: 60, r: 16, t: 10, b: 44 },
    xaxis: axis(x, of, xaxis), yaxis: axis(y, of, yaxis),
    hoverlabel: { bgcolor: of.panel, bordercolor: of.grid, font: { color: of.text } },
    legend: { orientation: "h", y: -0.2 }, showlegend: data.length > 1,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  };
  await plotly.react(node, data, layout, { displayModeBar: false, responsive: true });
}

onTheme(() => {
  for (const [node, make] of drawn) {
    if (node.isConnected) plot(node, make);
    else drawn.delete(node);
  }
});
