// Panels of trading: profit and drawdown, positions, orders, fills.

import { LineChart } from "./chart.js";
import { $, h } from "./dom.js";
import * as f from "./format.js";
import { panel } from "./panels.js";
import { Table } from "./table.js";
import { colours, look } from "./theme.js";

const body = (id) => $(id).querySelector(".body");
const sign = (value) => (value > 0 ? "up" : value < 0 ? "down" : null);

/** Digits that money of this size is shown with. */
export const moneyDigits = (value) => (Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 0.1 || !value ? 2 : 6);
export const money = (value) => f.signed(value, f.isNumber(value) ? moneyDigits(value) : 2);

export function addTrading(state) {
  addMoney(state);
  addPositions(state);
  addOrders(state);
  addFills(state);
}

function addMoney(state) {
  const host = body("money");
  const profit = new LineChart(host, "Profit and loss after fees", { height: 165, digits: 4 });
  host.append(h("h3", { text: "below its peak" }));
  const below = new LineChart(host, "Drawdown", { height: 95, digits: 4 });
  panel("money", ["step"], 700, () => {
    const rows = state.money;
    if (!rows.length) return;
    const x = rows.map(([ns]) => ns / 1e6);
    const currencies = [...new Set(rows.flatMap(([, net]) => Object.keys(net)))].sort();
    const [lo, hi] = [0, rows.length];
    const [gains, falls] = [[], []];
    currencies.forEach((currency, at) => {
      const y = rows.map(([, net]) => net[currency] ?? NaN);
      const fall = rows.map(([, , below]) => below[currency] ?? NaN);
      gains.push({ name: currency, x, y, lo, hi, ...look(at), wide: 2, note: money(y.at(-1)) });
      falls.push({ name: currency, x, y: fall, lo, hi, ...look(at), colour: colours().bad, note: money(fall.at(-1)) });
    });
    const [from, to] = [x[0], Math.max(x.at(-1), x[0] + 10_000)];
    profit.draw({ from, to, lines: gains, zero: true });
    below.draw({ from, to, lines: falls, zero: true });
    profit.describe(gains.map((line) => `${line.note} ${line.name}`).join(", "));
  });
}

function addPositions(state) {
  const step = (row) => state.streams.find((one) => one.stream === row.stream);
  const amount = (name, title, more = {}) => ({
    name, title, number: true, value: (row) => row[name], text: (row) => money(row[name]), ...more,
  });
  const unsigned = (name, title, more = {}) => ({
    ...amount(name, title, more), text: (row) => money(row[name]).replace("+", ""),
  });
  const columns = [
    { name: "stream", title: "stream", text: (row) => row.stream },
    { name: "qty", title: "held", number: true, value: (row) => row.qty, text: (row) => (row.qty ? (row.qty > 0 ? "+" : "") + f.short(row.qty, 8) : "flat") },
    { name: "entry", title: "entry", number: true, value: (row) => row.entry_price,
      text: (row) => (row.lots ? f.num(row.entry_price, f.digitsOf(step(row)?.tick_size)) : f.NONE) },
    amount("net", "net", { kind: (row) => sign(row.net) }),
    { name: "currency", title: "in", text: (row) => row.currency },
    unsigned("fees", "fees"),
    unsigned("max_drawdown", "largest drawdown"),
    unsigned("turnover", "turnover", { wide: true }),
    { name: "orders", title: "orders", number: true, wide: true, value: (row) => row.orders, text: (row) => f.whole(row.orders) },
    { name: "fills", title: "fills", number: true, value: (row) => row.fills, text: (row) => f.whole(row.fills) },
    { name: "refused", title: "refused", number: true, value: (row) => row.refused, text: (row) => f.whole(row.refused),
      kind: (row) => (row.refused ? "warn" : null) },
  ];
  const table = new Table(body("positions"), "Positions", columns, { key: (row) => row.stream, cards: true });
  const note = h("p", { class: "none" });
  body("positions").append(note);
  panel("positions", ["step"], 250, () => {
    table.update((state.trading.positions ?? []).filter((row) => row.orders || row.lots || row.fills));
    const refused = Object.entries(state.trading.refused ?? {});
    note.textContent = refused.length ? `refused by the risk gate: ${refused.map(([why, n]) => `${why} ${f.whole(n)}`).join(", ")}` : "";
  });
}

function addOrders(state) {
  const digits = (row) => f.digitsOf(state.streams.find((one) => one.stream === row.stream)?.tick_size);
  const going = ["sent", "open"];
  const columns = [
    { name: "number", title: "no.", number: true, value: (row) => row.number, text: (row) => String(row.number) },
    { name: "ts", title: "decided", value: (row) => row.ts_ns, text: (row) => f.time(row.ts_ns) },
    { name: "stream", title: "stream", text: (row) => row.stream },
    { name: "action", title: "what", text: (row) => `${row.action}${row.side ? ` ${f.side(row.side)}` : ""}` },
    { name: "qty", title: "quantity", number: true, value: (row) => row.qty, text: (row) => f.short(row.qty, 8) },
    { name: "filled", title: "filled", number: true, wide: true, value: (row) => row.filled_qty, text: (row) => f.short(row.filled_qty, 8) },
    { name: "price", title: "limit", number: true, value: (row) => row.price, text: (row) => (row.price ? f.num(row.price, digits(row)) : f.NONE) },
    { name: "state", title: "state", text: (row) => row.state.replaceAll("_", " "), hint: (row) => row.reason || null,
      kind: (row) => (row.state === "refused" || row.state === "no_book" ? "warn" : going.includes(row.state) ? null : "muted") },
    { name: "reason", title: "why", wide: true, long: true, text: (row) => row.reason },
  ];
  const table = new Table(body("orders"), "Newest orders", columns, { key: (row) => row.number, most: 60, empty: "no order yet", cards: true });
  panel("orders", ["step"], 250, () => table.update([...state.orders.values()].sort((a, b) => b.number - a.number)));
}

function addFills(state) {
  const digits = (row) => f.digitsOf(state.streams.find((one) => one.stream === row.stream)?.tick_size);
  const columns = [
    { name: "ts", title: "known", value: (row) => row.ts_ns, text: (row) => f.time(row.ts_ns) },
    { name: "order", title: "order", number: true, value: (row) => row.order, text: (row) => String(row.order) },
    { name: "stream", title: "stream", text: (row) => row.stream },
    { name: "side", title: "side", text: (row) => f.side(row.side) },
    { name: "qty", title: "quantity", number: true, value: (row) => row.qty, text: (row) => f.short(row.qty, 8) },
    { name: "price", title: "price", number: true, value: (row) => row.price, text: (row) => f.num(row.price, digits(row)) },
    { name: "fee", title: "fee", number: true, wide: true, value: (row) => row.fee, text: (row) => `${f.short(row.fee, 3)} ${row.currency}` },
    { name: "maker", title: "as", wide: true, text: (row) => (row.maker ? "maker" : "taker") },
  ];
  const table = new Table(body("fills"), "Newest fills", columns, { key: (row) => row.seq, most: 60, empty: "no fill yet", cards: true });
  panel("fills", ["fills"], 250, () => table.update(state.fills));
}
