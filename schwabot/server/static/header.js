// What is always in sight: state, account, profit, how the line is, the main numbers, and the title.

import { $, attribute, h, put } from "./dom.js";
import * as f from "./format.js";
import { priceDigits } from "./market.js";
import { LANES } from "./state.js";
import { binMs, quantile } from "./strips.js";
import { money } from "./trading.js";

const STALE_MS = 3000;
const TITLE_MS = 900; // a title is shown by another process, which costs more than all numbers
const KINDS = { NORMAL: "good", REDUCING: "warn", HALTED: "bad" };

export class Header {
  constructor(state) {
    this.state = state;
    this.line = { state: "connecting", detail: {} };
    this.cells = new Map();
    this.titledMs = -Infinity;
  }

  /** How the line to the run is: a word, its kind, and what to tell. */
  #standing() {
    const { state, line } = this;
    if (line.state === "refused") return ["token needed", "bad", `The server lets nobody look without a token: ${line.detail.message}`];
    if (state.isBroken) return ["broke off", "bad", "The run ended without a word: it was killed, or it crashed. What it held or had open is as it was: look at the venue, and start it again to recover."];
    if (state.isOver) return ["ended", "none", "The run has ended. What you see is its last state."];
    if (line.state !== "open") {
      const why = line.detail.why ? ` (${line.detail.why})` : "";
      return state.hasRun || line.state === "waiting"
        ? ["reconnecting", "bad", `No connection to the server${why}. What you see is old; it is tried again by itself.`]
        : ["connecting", "none", ""];
    }
    if (!state.hasRun) return ["no run", "none", ""];
    const silent = performance.now() - state.heardMs;
    if (silent > STALE_MS) return [`stale ${f.duration(silent)}`, "warn", "The run has told nothing for more than 3 s. What you see is old."];
    return ["live", "good", ""];
  }

  show() {
    const { state } = this;
    const [word, kind, text] = this.#standing();
    put($("line"), word);
    attribute($("line"), "data-kind", kind);
    put($("banner"), text);
    attribute($("banner"), "data-kind", kind);
    $("banner").hidden = !text;
    const { trading, run } = state;
    const standing = trading.state ?? (state.hasRun ? (run.mode ?? "") : "no run");
    put($("state"), standing);
    attribute($("state"), "data-kind", KINDS[trading.state] ?? "none");
    attribute($("state"), "title", trading.who ? `by ${trading.who}: ${trading.why}` : null);
    const how = trading.account ? `account ${trading.account} · ${trading.sending ? "sending" : "not sending"}` : "";
    put($("account"), [state.hasRun && trading.state ? run.mode : "", how].filter(Boolean).join(" · "));
    const net = Object.entries(state.net());
    const profit = net.map(([currency, value]) => `${money(value)} ${currency}`).join(" ");
    if (performance.now() - this.titledMs > TITLE_MS) {
      this.titledMs = performance.now();
      const parts = [word === "live" ? "" : `(${word})`, standing, profit, trading.account ?? "", "Schwabot"];
      document.title = parts.filter(Boolean).join(" · ");
    }
    const version = run.version ? `Schwabot ${run.version}` : "Schwabot";
    const where = state.hasRun ? ` · ${run.mode} on ${run.device} · ${run.source} · ${run.run_dir}` : "";
    put($("footer"), `${version}${where} · past results and simulated fills promise nothing`);
    if (state.hasRun) this.#numbers(net);
  }

  #numbers(net) {
    const { state } = this;
    const { last, trading } = state;
    if (last.ts_ns) {
      const quote = state.streams.find((one) => !one.is_rate)?.quote ?? "";
      this.#number("Ghost price", quote, f.num(last.ghost_price, priceDigits(state)));
      const off = (last.streams?.deviation_bp ?? []).map((bp, v) => [bp, v]).filter(([bp]) => bp !== null);
      const [bp, v] = off.reduce((most, one) => (Math.abs(one[0]) > Math.abs(most[0]) ? one : most), [0, null]);
      this.#number("Deviation", "bp", f.signed(bp, 2), v === null ? "" : state.streams[v].venue);
      const lanes = (last.streams?.lane ?? []).map((lane, at) => [lane, last.streams.voltage[at] ?? 0]);
      const [lane, volt] = lanes.reduce((most, one) => (one[1] > most[1] ? one : most), [null, -1]);
      this.#number("Highest lane", "", LANES[lane] ?? f.NONE, lane === null ? "" : `${f.num(volt, 2)} V`);
      this.#number("Expected lag", "bp", f.num(last.expected_lag_bp, 3));
    }
    const { done, sets, best, objective, sets_per_s: rate } = state.sweep;
    if (done) {
      this.#number("Tried", "sets", f.whole(done), `of ${f.whole(sets)}`);
      this.#number("Best so far", objective, f.short(best));
      this.#number("Rate", "sets/s", f.short(rate));
    }
    for (const [currency, value] of net) {
      this.#number("Net", currency, money(value), "", value > 0 ? "up" : value < 0 ? "down" : null);
      const rows = trading.positions.filter((row) => row.currency === currency);
      const fall = Math.max(0, ...rows.map((row) => row.max_drawdown ?? 0));
      this.#number("Drawdown", currency, money(fall).replace("+", ""), "largest");
    }
    if (last.ts_ns) this.#number("Events", "/s", f.whole(state.rate), f.whole(state.totals.events));
    const answer = (state.health.timings ?? []).find((one) => one.name === "answer") ?? state.health.timings?.[0];
    const most = answer ? quantile(answer.counts, 0.99) : null;
    if (most !== null) this.#number(`p99 of ${answer.name}`, "", f.duration(binMs(most)));
    const parts = state.parts();
    const bad = parts.filter((one) => !one.best).length;
    if (parts.length) {
      this.#number("First choices", "", `${parts.length - bad} of ${parts.length}`, "", bad ? "warn" : null);
    }
    this.#number("Alerts", "", f.whole(state.counts.alerts ?? 0), state.alerts[0] ? f.time(state.alerts[0].ts_ns, false) : "");
  }

  #number(name, unit, text, note = "", kind = null) {
    const key = `${name} ${unit}`;
    if (!this.cells.has(key)) {
      const [value, small] = [h("span"), h("small")];
      const dd = h("dd", {}, value, small);
      this.cells.set(key, { value, small, dd });
      $("numbers").append(h("div", {}, h("dt", {}, name, unit ? h("span", { class: "unit", text: ` ${unit}` }) : null), dd));
    }
    const cell = this.cells.get(key);
    put(cell.value, text);
    put(cell.small, note);
    attribute(cell.small, "title", note || null); // where there is no room for all of it
    attribute(cell.dd, "data-kind", kind);
  }

  /** Another run: other numbers. */
  clear() {
    this.cells.clear();
    $("numbers").replaceChildren();
  }
}
