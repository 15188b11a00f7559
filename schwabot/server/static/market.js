// Panels of the market: fair price, streams, deviation, drift, lanes, lag, arbitrage.

import { LineChart } from "./chart.js";
import { $, h } from "./dom.js";
import * as f from "./format.js";
import { panel, redrawAll } from "./panels.js";
import { LANES, ROUTES, STATUSES } from "./state.js";
import { LaneStrip } from "./strips.js";
import { Table } from "./table.js";
import { colours, look } from "./theme.js";

const CHART_MS = 230;
const TABLE_MS = 200;
let span = 300;

const body = (id) => $(id).querySelector(".body");

export function addMarket(state) {
  addGhost(state);
  addStreams(state);
  addLines(state, "deviation", "Deviation", "deviation_bp", "bp", { zero: true });
  addLines(state, "drift", "Drift", "drift", "of the basis", { zero: true });
  addLanes(state);
  addLag(state);
  addArbitrage(state);
}

/** The part of the series that is shown. */
function shown(state) {
  const { series } = state;
  const to = series.newest;
  const from = Math.max(to - 1000 * span, Math.min(series.ms[series.first], to - 10_000));
  return { from, to, lo: Math.max(series.first, series.from(from) - 1), hi: series.end };
}

/** Of the streams' prices; a rate has none in this currency. */
const priced = (state) => state.streams.map((one, v) => [one, v]).filter(([one]) => !one.is_rate);

export function priceDigits(state) {
  return Math.max(0, ...priced(state).map(([one]) => f.digitsOf(one.tick_size)));
}

function addGhost(state) {
  const chart = new LineChart(body("ghost"), "Ghost price and streams", { height: 300 });
  const basis = $("basis");
  const buttons = [...document.querySelectorAll("[data-span]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      span = Number(button.dataset.span);
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
      redrawAll();
    });
  }
  basis.addEventListener("change", redrawAll);
  const prices = { ghost: new Float64Array(0), streams: [] };
  panel("ghost", ["step"], CHART_MS, () => {
    const { from, to, lo, hi } = shown(state);
    if (!(to > 0)) return;
    const { series } = state;
    const digits = priceDigits(state);
    const unit = priced(state)[0]?.[0].quote ?? "";
    if (prices.ghost.length < series.ghost.length || prices.streams.length !== state.streams.length) {
      prices.ghost = new Float64Array(series.ghost.length);
      prices.streams = state.streams.map(() => new Float64Array(series.ghost.length));
    }
    const reference = state.last.reference_price ?? NaN;
    const price = (bp) => reference * Math.exp(1e-4 * bp);
    for (let at = lo; at < hi; at++) prices.ghost[at] = price(series.ghost[at]);
    const lines = priced(state).map(([one, v]) => {
      const [own, mids, deviations] = [prices.streams[v], series.wide.mid_bp[v], series.wide.deviation_bp[v]];
      for (let at = lo; at < hi; at++) {
        own[at] = price(basis.checked ? series.ghost[at] - deviations[at] : mids[at]);
      }
      return { name: one.stream, x: series.ms, y: own, lo, hi, ...look(v), note: f.num(own[hi - 1], digits) };
    });
    const ghost = { name: "ghost", x: series.ms, y: prices.ghost, lo, hi, colour: colours().ghost, wide: 2.5 };
    chart.options.digits = digits;
    chart.options.unit = unit;
    chart.draw({ from, to, lines: [...lines, { ...ghost, note: `${f.num(prices.ghost[hi - 1], digits)} ${unit}` }] });
    chart.describe(`ghost ${f.num(prices.ghost[hi - 1], digits)} ${unit}`);
  });
}

function addLines(state, id, label, column, unit, options) {
  const chart = new LineChart(body(id), label, { unit, height: 300, digits: 3 });
  panel(id, ["step"], CHART_MS, () => {
    const { from, to, lo, hi } = shown(state);
    if (!(to > 0)) return;
    const lines = priced(state).map(([one, v]) => {
      const y = state.series.wide[column][v];
      const note = `${f.num(y[hi - 1], 3)}${id === "drift" ? "" : ` ${unit}`}`;
      return { name: one.stream, x: state.series.ms, y, lo, hi, ...look(v), note };
    });
    chart.draw({ from, to, lines, ...options });
    chart.describe(lines.map((line) => `${line.name} ${line.note}`).join(", "));
  });
}

function addStreams(state) {
  const now = (v, name) => state.last.streams?.[name]?.[v] ?? null;
  const number = (name, title, unit, digits, more = {}) => ({
    name, title, unit, number: true, value: ([, v]) => now(v, name), text: ([, v]) => f.signed(now(v, name), digits), ...more,
  });
  const plain = (name, title, unit, digits, more = {}) => ({
    ...number(name, title, unit, digits, more), text: ([, v]) => f.num(now(v, name), digits),
  });
  const route = ([, v]) => ROUTES[now(v, "route")] ?? f.NONE;
  const status = ([, v]) => STATUSES[now(v, "status")] ?? f.NONE;
  const columns = [
    { name: "stream", title: "stream", text: ([one]) => one.stream },
    { name: "price", title: "mid", number: true, value: ([one, v]) => state.price(now(v, "mid_bp"), one.is_rate),
      text: ([one, v]) => f.num(state.price(now(v, "mid_bp"), one.is_rate), f.digitsOf(one.tick_size)) },
    { name: "quote", title: "in", wide: true, text: ([one]) => one.quote },
    number("deviation_bp", "deviation", "bp", 3),
    number("phase_bp", "phase", "bp", 2),
    plain("drift", "drift", "", 3),
    { name: "status", title: "is", text: status,
      kind: (row) => ({ DRIFTING: "warn", CRITICAL: "bad" })[status(row)] ?? null },
    { name: "route", title: "route", text: route, kind: (row) => (["OK", "RATE"].includes(route(row)) ? null : "bad") },
    plain("half_spread_bp", "half spread", "bp", 3, { wide: true }),
    number("forecast_bp", "forecast", "bp", 3, { wide: true }),
    plain("voltage", "voltage", "V", 2),
    { name: "lane", title: "lane", value: ([, v]) => now(v, "lane"), text: ([, v]) => LANES[now(v, "lane")] ?? f.NONE },
    { name: "fees", title: "pays fees", wide: true, text: ([, v]) => (now(v, "pays_fees") ? "yes" : "no") },
    { name: "events", title: "events", number: true, wide: true, value: ([, v]) => state.byStream[v],
      text: ([, v]) => f.whole(state.byStream[v]) },
  ];
  const table = new Table(body("streams"), "Streams and their newest values", columns, { key: ([one]) => one.stream, cards: true });
  panel("streams", ["step"], TABLE_MS, () => table.update(state.streams.map((one, v) => [one, v])));
}

function addLanes(state) {
  const host = body("lanes");
  const chart = new LineChart(host, "Voltage", { unit: "V", height: 130, digits: 2 });
  const place = h("div");
  const counts = h("div");
  host.append(place, counts);
  const share = ([, v], lane) => {
    const own = state.lanes[v] ?? [0, 0, 0];
    const all = own[0] + own[1] + own[2];
    return all ? (100 * own[lane]) / all : NaN;
  };
  const columns = [
    { name: "stream", title: "stream", long: true, text: ([one]) => one.stream },
    ...LANES.map((lane, at) => ({
      name: lane, title: lane, unit: "%", number: true, value: (row) => share(row, at), text: (row) => f.num(share(row, at), 1),
    })),
  ];
  const table = new Table(counts, "Share of events by lane", columns, { key: ([one]) => one.stream });
  let [strip, rows] = [null, -1];
  panel("lanes", ["step"], CHART_MS + 40, () => {
    const some = priced(state);
    const { from, to, lo, hi } = shown(state);
    if (!(to > 0)) return;
    if (rows !== some.length) {
      place.replaceChildren();
      [strip, rows] = [new LaneStrip(place, "Lane of every stream over time", some.length), some.length];
    }
    const { series } = state;
    const lines = some.map(([one, v]) => {
      const y = series.wide.voltage[v];
      return { name: one.stream, x: series.ms, y, lo, hi, ...look(v), note: `${f.num(y[hi - 1], 2)} V` };
    });
    const guides = [{ y: 1.2, label: "MEDIUM" }, { y: 2, label: "HIGH" }];
    chart.draw({ from, to, lines, guides, least: [0.8, 1.3] });
    const lanes = some.map(([, v]) => series.wide.lane[v]);
    strip.draw({ from, to, lo, hi, x: series.ms, lanes, names: some.map(([one]) => one.venue) });
    strip.describe(some.map(([one], at) => `${one.stream} ${LANES[lanes[at][hi - 1]] ?? f.NONE}`).join(", "));
    chart.describe(lines.map((line) => `${line.name} ${line.note}`).join(", "));
    table.update(some);
  });
}

function addLag(state) {
  const host = body("lag");
  const choice = h("select", { "aria-label": "Stream of the lag curve" });
  $("lag").querySelector("h2").after(h("label", { class: "tick" }, choice));
  choice.addEventListener("change", redrawAll);
  const chart = new LineChart(host, "Cost of acting late", { unit: "bp", height: 250, log: true, digits: 3 });
  const note = h("p", { class: "none" });
  host.append(note);
  panel("lag", ["step"], 900, () => {
    const some = priced(state);
    if (choice.options.length !== some.length) {
      choice.replaceChildren(...some.map(([one, v]) => h("option", { value: v, text: one.stream })));
    }
    const v = Number(choice.value);
    const curve = state.lagCurve(v);
    note.textContent = curve.length
      ? `${f.whole(curve[0].n)} decisions so far; interval: 95 %`
      : "No decision of this stream yet: a decision is the first event at which it stands off its fair price.";
    if (!curve.length) return chart.draw({ from: 1, to: 1000, lines: [], zero: true, marks: [1, 10, 100, 1000] });
    const x = curve.map((one) => one.latency);
    const [lo, hi] = [0, x.length];
    const [mean, expected] = [curve.map((one) => one.mean), curve.map((one) => one.expected)];
    const lines = [
      { name: "realised", x, y: mean, lo, hi, ...look(v), dash: [], error: curve.map((one) => one.ci) },
      { name: "expected", x, y: expected, lo, hi, colour: colours().ghost, dash: [5, 4] },
    ];
    chart.draw({ from: 0.8 * x[0], to: 1.25 * x.at(-1), lines, zero: true, marks: x });
    const at = curve.find((one) => one.latency >= 10) ?? curve.at(-1);
    chart.describe(`${f.num(at.latency, 0)} ms late cost ${f.num(at.mean, 3)} ± ${f.num(at.ci, 3)} bp`);
  });
}

function addArbitrage(state) {
  const legs = (row) => row.legs.map((leg) => `${f.side(leg.side)} ${leg.stream}`).join(" → ");
  const life = (row) => (row.end_ns - row.start_ns) / 1e6;
  const bp = (name, title, more = {}) => ({
    name, title, unit: "bp", number: true, value: (row) => row[name], text: (row) => f.signed(row[name], 2), ...more,
  });
  const columns = [
    { name: "end", title: "closed", value: (row) => row.end_ns, text: (row) => f.time(row.end_ns) },
    { name: "kind", title: "kind", text: (row) => row.kind },
    { name: "legs", title: "legs", long: true, text: legs },
    bp("start_edge_bp", "edge at start", { wide: true }),
    bp("edge_bp", "widest edge"),
    bp("edge_left_bp", "left to us", { wide: true }),
    { name: "qty", title: "quantity", number: true, wide: true, value: (row) => row.qty, text: (row) => f.short(row.qty) },
    { name: "life", title: "lifetime", number: true, value: life, text: (row) => f.duration(life(row)) },
  ];
  const empty = "no window has closed yet";
  const table = new Table(body("arbitrage"), "Closed arbitrage windows", columns, { key: (row) => row.seq, empty, most: 60, cards: true });
  const total = h("p", { class: "none" });
  body("arbitrage").append(total);
  panel("arbitrage", ["arbitrage"], 300, () => {
    table.update(state.arbitrage);
    const count = state.counts.arbitrage ?? 0;
    total.textContent = count ? `${f.whole(count)} windows so far; the newest ${f.whole(Math.min(60, state.arbitrage.length))} are listed` : "";
  });
}
