// Panels of the machine and the run: health, latency, host, alerts, log, sweep, settings.

import { LineChart } from "./chart.js";
import { $, h, put } from "./dom.js";
import * as f from "./format.js";
import { panel } from "./panels.js";
import { Histogram, binMs, quantile } from "./strips.js";
import { Table } from "./table.js";
import { look } from "./theme.js";

const body = (id) => $(id).querySelector(".body");

export function addMachine(state) {
  addHealth(state);
  addLatency(state);
  addHost(state);
  addAlerts(state);
  addLog(state);
  addSweep(state);
}

function addHealth(state) {
  const host = body("health");
  const [parts, queue, events] = [h("div"), h("p", { class: "none" }), h("div")];
  host.append(parts, queue, h("h3", { text: "switches and drift" }), events);
  const columns = [
    { name: "ok", title: "ok", text: (row) => (row.best ? "✓" : "▲"), kind: (row) => (row.best ? null : "warn") },
    { name: "part", title: "part", long: true, text: (row) => row.component },
    { name: "now", title: "in use", text: (row) => row.now, kind: (row) => (row.best ? null : "warn"), hint: (row) => row.reason ?? null },
    { name: "health", title: "%", number: true, value: (row) => row.health, text: (row) => f.num(row.health === null ? NaN : 100 * row.health, 0) },
  ];
  const table = new Table(parts, "Parts", columns, { key: (row) => row.component, empty: "no part has told of itself yet" });
  const happened = [
    { name: "ts", title: "when", text: (row) => f.time(row.ts_ns, false) },
    { name: "what", title: "what", long: true, text: (row) => row.text },
  ];
  const list = new Table(events, "Newest switches", happened, { key: (row) => `${row.kind}${row.seq}`, most: 30, empty: "none so far" });
  panel("health", ["step"], 400, () => {
    const rows = state.parts();
    table.update([...rows.filter((row) => !row.best), ...rows.filter((row) => row.best)]);
    const { queue_rows: waiting, queue_most: most, reconnects, messages } = state.health;
    queue.textContent = messages === undefined ? "" : `${f.whole(messages)} messages, ${f.whole(reconnects)} reconnects, ${f.whole(waiting)} rows wait (${f.whole(most)} at most)`;
    const switches = state.fallbacks.map((row) => ({
      seq: row.seq, kind: "f", ts_ns: row.ts_ns, text: `${row.component}: ${row.before} → ${row.after}${row.reason ? ` (${row.reason})` : ""}`,
    }));
    const drifts = state.drift_events.map((row) => ({
      seq: row.seq, kind: "d", ts_ns: row.ts_ns, text: `${row.stream}: ${row.what} ${row.before} → ${row.after}`,
    }));
    list.update([...switches, ...drifts].sort((a, b) => b.seq - a.seq));
  });
}

function addLatency(state) {
  const host = body("latency");
  const none = h("p", { class: "none", text: "no timing yet" });
  const place = h("div", { class: "timings" });
  host.append(place, none);
  const drawn = new Map();
  panel("latency", ["step"], 900, () => {
    const timings = (state.health.timings ?? []).filter((one) => one.counts.some((count) => count));
    none.hidden = timings.length > 0;
    for (const { name, counts } of timings) {
      if (!drawn.has(name)) {
        const [told, cell] = [h("b"), h("div")];
        cell.append(h("h3", {}, h("span", { text: name }), told));
        drawn.set(name, { told, histogram: new Histogram(cell, `Latency of ${name}`) });
        place.append(cell);
      }
      const { told, histogram } = drawn.get(name);
      const [half, most] = [quantile(counts, 0.5), quantile(counts, 0.99)];
      const total = counts.reduce((sum, count) => sum + count, 0);
      put(told, `p50 ${f.duration(binMs(half))} · p99 ${f.duration(binMs(most))} · n ${f.whole(total)}`);
      histogram.draw({ counts, marks: [["p50", half], ["p99", most]] });
      histogram.describe(told.textContent);
    }
  });
}

function addHost(state) {
  const place = h("div", { class: "meters" });
  body("host").append(place);
  const meters = new Map();
  const show = (name, share, text, high = 0.9) => {
    if (!meters.has(name)) {
      const [told, meter] = [h("b"), h("meter", { min: "0", max: "1", high, optimum: "0", "aria-label": name })];
      meters.set(name, { told, meter, row: h("div", { class: "meter" }, h("span", { text: name }), told, meter) });
      place.append(meters.get(name).row);
    }
    const { told, meter } = meters.get(name);
    put(told, text);
    meter.hidden = share === null;
    if (share !== null) meter.value = Math.min(1, Math.max(0, share));
  };
  panel("host", ["host"], 500, () => {
    const host = state.host;
    if (!host.cpus) return;
    show("Processor", host.cpu_percent / 100, `${f.num(host.cpu_percent, 0)} % of ${host.cpus}`);
    show("Memory", host.memory_used_mib / host.memory_mib, `${f.mib(host.memory_used_mib)} of ${f.mib(host.memory_mib)}`);
    if (host.disk_mib) {
      const used = host.disk_mib - host.disk_free_mib;
      show("Disk", used / host.disk_mib, `${f.mib(host.disk_free_mib)} free of ${f.mib(host.disk_mib)}`);
    }
    for (const [name, one] of [["This run", host.run], ["This server", host.server]]) {
      if (!one) continue;
      show(name, one.cpu_percent / 100 / host.cpus, `${f.num(one.cpu_percent, 0)} % · ${f.mib(one.rss_mib)} · ${one.threads} threads`);
    }
    host.gpus.forEach((gpu, at) => {
      const [busy, heat] = [f.isNumber(gpu.busy_percent), f.isNumber(gpu.temperature_c)];
      const name = `GPU ${at}: ${gpu.name}`;
      show(name, busy ? gpu.busy_percent / 100 : null, `${busy ? `${f.num(gpu.busy_percent, 0)} %` : ""}${heat ? ` · ${f.num(gpu.temperature_c, 0)} °C` : ""}`, 1);
      show(`${name}, memory`, gpu.memory_used_mib / gpu.memory_mib, `${f.mib(gpu.memory_used_mib)} of ${f.mib(gpu.memory_mib)}`);
    });
    if (!host.gpus.length) show("GPU", null, "none found");
  });
}

const LEVELS = { WARNING: "warn", ERROR: "bad", CRITICAL: "bad" };

function addAlerts(state) {
  const columns = [
    { name: "ts", title: "when", value: (row) => row.ts_ns, text: (row) => f.time(row.ts_ns, false) },
    { name: "level", title: "level", text: (row) => row.level, kind: (row) => LEVELS[row.level] ?? null },
    { name: "kind", title: "kind", text: (row) => row.kind },
    { name: "text", title: "what", long: true, text: (row) => row.text },
  ];
  const table = new Table(body("alerts"), "Newest alerts", columns, { key: (row) => row.seq, empty: "no alert so far" });
  panel("alerts", ["alerts"], 300, () => table.update(state.alerts));
}

function addLog(state) {
  body("log").classList.add("log");
  const columns = [
    { name: "ts", title: "when", value: (row) => row.ts_ns, text: (row) => f.time(row.ts_ns) },
    { name: "level", title: "level", text: (row) => row.level, kind: (row) => LEVELS[row.level] ?? "muted" },
    { name: "text", title: "line", long: true, text: (row) => row.text },
  ];
  const table = new Table(body("log"), "Tail of the log", columns, { key: (row) => row.seq ?? `${row.ts_ns}${row.text}`, most: 100, empty: "no line yet" });
  panel("log", ["log"], 300, () => table.update(state.log));
}

function addSweep(state) {
  const host = body("sweep");
  const bar = h("progress", { max: "1", value: "0", "aria-label": "Sets tried" });
  const told = h("p", { class: "none" });
  host.append(bar, told);
  const chart = new LineChart(host, "Best so far", { height: 230, digits: 4, log: true, mark: (at) => `${f.whole(at)} sets` });
  panel("sweep", ["sweep"], 400, () => {
    const { done, sets, ran, best, objective, sets_per_s: rate, param_events_per_s: events, curve } = state.sweep;
    if (!done) return;
    bar.value = sets ? done / sets : 0;
    const eta = rate && sets > done ? `, about ${f.duration((1000 * (sets - done)) / rate)} to go` : "";
    told.textContent = `${f.whole(done)} of ${f.whole(sets)} sets (${f.whole(ran)} run now), best ${objective} so far ${f.short(best)}; ${f.short(rate)} sets/s, ${f.short(events)} parameter-events/s${eta}`;
    const x = curve.map(([at]) => Math.max(at, 1));
    const y = curve.map(([, value]) => (value === null ? NaN : value));
    const lines = [{ name: objective, x, y, lo: 0, hi: x.length, ...look(0), wide: 2, marks: true, note: f.short(best) }];
    const marks = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((one) => one <= sets);
    chart.draw({ from: Math.min(x[0], 1), to: Math.max(sets, 2), lines, marks });
    chart.describe(told.textContent);
  });
}
