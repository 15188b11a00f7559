// What the page knows of the run. Everything comes from one snapshot and the events after it, so that a page that
// comes back, or is reloaded, shows the same as one that stayed.

import { Series } from "./series.js";

const KEPT = 200;
const MOST_MONEY = 5000;
const LISTS = ["fills", "arbitrage", "drift_events", "fallbacks", "alerts", "settings", "log"];

export const LANES = ["LOW", "MEDIUM", "HIGH"];
export const ROUTES = ["OK", "UNSEEN", "STALE", "CROSSED", "DRIFTING", "RATE"];
export const STATUSES = ["STABLE", "DRIFTING", "CRITICAL"];

export class State {
  constructor() {
    this.changed = new Set();
    this.reset({});
  }

  /** Begin with a snapshot. */
  reset(snapshot) {
    this.run = snapshot.run ?? {};
    this.streams = this.run.streams ?? [];
    this.last = snapshot.last ?? {};
    this.totals = snapshot.totals ?? {};
    this.counts = snapshot.counts ?? {};
    this.rate = snapshot.events_per_s ?? 0;
    this.byStream = snapshot.by_stream ?? [];
    this.lanes = snapshot.lanes ?? [];
    this.lag = new Map();
    this.#addLag(snapshot.lag ?? []);
    this.series = new Series(this.streams.length);
    this.series.add(snapshot.points ?? {});
    this.health = snapshot.health ?? {};
    this.links = snapshot.links ?? {};
    this.trading = snapshot.trading ?? {};
    this.host = snapshot.host ?? {};
    this.orders = new Map([...(snapshot.orders ?? [])].reverse().map((order) => [order.number, order]));
    for (const name of LISTS) this[name] = snapshot[name] ?? [];
    this.money = snapshot.money ?? [];
    this.sweep = snapshot.sweep ?? {};
    this.summary = snapshot.summary ?? {};
    this.isGone = snapshot.is_gone ?? false;
    this.heardMs = snapshot.age_s === null || snapshot.age_s === undefined ? 0 : performance.now() - 1000 * snapshot.age_s;
    this.changed.add("all");
  }

  get hasRun() {
    return Boolean(this.run.mode);
  }

  get isBroken() {
    return this.isGone && Object.keys(this.summary).length === 0;
  }

  get isOver() {
    return this.isGone || Object.keys(this.summary).length > 0;
  }

  /** Take one event of the live stream. */
  take(event, data) {
    if (event === "snapshot") this.reset(data);
    else if (event === "step") this.#step(data);
    else if (event === "log") this.#keep("log", data.lines);
    else if (event === "sweep") this.#sweep(data);
    else if (event === "host") this.host = data;
    else if (event === "close") this.summary = data.summary;
    else if (event === "end") this.isGone = true;
    if (event === "step" || event === "log" || event === "sweep") this.heardMs = performance.now();
    this.changed.add(event);
  }

  #step(frame) {
    this.totals = frame.totals;
    this.rate = frame.events_per_s;
    this.byStream = frame.events;
    this.lanes = frame.lanes;
    this.#addLag(frame.decisions);
    if (frame.ts_ns !== undefined) this.last = frame;
    if (frame.points?.ts_ns) this.series.add(frame.points);
    for (const name of ["arbitrage", "drift_events", "fallbacks", "alerts", "settings"]) this.#keep(name, frame[name]);
    for (const one of frame.fallbacks) this.links[one.component] = one;
    if (frame.health) this.health = frame.health;
    if (frame.trading) this.#trade(frame.trading);
    if (frame.money) this.money.push(frame.money); // time, and by currency net and how far below its peak
    if (this.money.length > MOST_MONEY) this.money.shift();
    Object.assign(this.counts, frame.counts);
  }

  #trade(trading) {
    this.trading = trading;
    for (const order of trading.orders) this.orders.set(order.number, order);
    const numbers = [...this.orders.keys()].sort((a, b) => a - b); // an old one that ends comes again, and is not new
    for (const number of numbers.slice(0, Math.max(0, numbers.length - KEPT))) this.orders.delete(number);
    this.#keep("fills", trading.fills);
  }

  #keep(name, rows) {
    if (!rows.length) return;
    this.counts[name] = (this.counts[name] ?? 0) + rows.length;
    this[name] = [...[...rows].reverse(), ...this[name]].slice(0, KEPT);
    this.changed.add(name);
  }

  #addLag(rows) {
    for (const [v, latency, ...sums] of rows) {
      const key = `${v}/${latency}`;
      this.lag.set(key, { v, latency, sums });
    }
  }

  #sweep(frame) {
    const curve = [...(this.sweep.curve ?? []), [frame.done, frame.best]];
    this.sweep = { ...frame, curve: curve.length > 1000 ? curve.filter((_, at) => at % 2 === 0) : curve };
  }

  /** Profit and loss by currency. */
  net() {
    const found = {};
    for (const row of this.trading.positions ?? []) {
      if (row.net !== null) found[row.currency] = (found[row.currency] ?? 0) + row.net;
    }
    return found;
  }

  /** Of a stream: mean cost of acting late by latency, half a 95 % interval, what was expected, and how often. */
  lagCurve(v) {
    const rows = [...this.lag.values()].filter((one) => one.v === v && one.sums[0] > 0);
    return rows
      .map(({ latency, sums: [n, total, squares, expectedN, expected] }) => {
        const mean = total / n;
        const spread = Math.sqrt(Math.max(squares / n - mean * mean, 0) / n);
        return { latency, n, mean, ci: 1.96 * spread, expected: expectedN ? expected / expectedN : NaN };
      })
      .sort((a, b) => a.latency - b.latency);
  }

  /** Quote price of a log price in bp; of a rate, whose 0 bp is 1. */
  price(bp, isRate = false) {
    const reference = isRate ? 1 : this.last.reference_price;
    return bp === null || bp === undefined || !reference ? NaN : reference * Math.exp(1e-4 * bp);
  }

  /** Parts with the link in use, as the API's /health has them. */
  parts() {
    const found = new Map();
    if (this.run.device) found.set("device", { component: "device", now: this.run.device, best: true, health: null });
    for (const one of Object.values(this.links)) {
      found.set(one.component, { component: one.component, now: one.after, best: one.best, health: null });
    }
    for (const one of this.health.parts ?? []) found.set(one.component, { ...one });
    for (const [name, one] of found) {
      const link = this.links[name];
      if (link) Object.assign(one, { since_ns: link.ts_ns, reason: link.reason });
    }
    return [...found.values()];
  }
}
