// One past run: its numbers, files, curves, tables, settings.

import { get, post, query } from "./api.js";
import { h } from "./dom.js";
import * as f from "./format.js";
import { plot } from "./plots.js";
import { SweepView } from "./sweep_view.js";
import { RowsTable } from "./rows_table.js";

const shown = (value) => (typeof value === "number" ? f.short(value, 5) : value === null ? f.NONE : String(value));

/** A section with a title. */
export function section(title, ...children) {
  const id = `part-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  return h("section", { class: "panel span12", "aria-labelledby": id }, h("header", {}, h("h2", { id, text: title })), ...children);
}

/** Run something that may fail, and say so in the place where it would have been. */
export async function tried(place, act) {
  try {
    await act();
  } catch (error) {
    place.append(h("p", { class: "none", role: "status", text: `${error.message}. ${error.todo ?? ""}` }));
  }
}

export class PastRun {
  constructor(host, id) {
    Object.assign(this, { host, id, path: `/runs/${encodeURIComponent(id)}` });
  }

  async open() {
    const back = h("a", { href: "#runs", text: "← all runs" });
    const head = h("section", { class: "panel", "aria-labelledby": "run-title" }, back, h("h2", { id: "run-title", text: `Run ${f.folder(this.id)}` }));
    this.grid = h("div", { class: "grid" });
    this.host.replaceChildren(head, this.grid);
    document.getElementById("main").focus();
    await tried(head, async () => {
      this.summary = await get(this.path);
    });
    const tables = await get(`${this.path}/tables`).catch(() => ({ items: [] }));
    const names = new Set(tables.items.filter((one) => one.rows).map((one) => one.name));
    this.#facts();
    await this.#files(head);
    if (names.has("sweep")) new SweepView(this.#add("Sweep"), this.path);
    if (names.has("equity")) await this.#equity(this.#add("Equity"));
    if (names.has("lag_curve")) await this.#lag(this.#add("Lag curve"));
    if (tables.items.length) new RowsTable(this.#add("Tables"), this.path, tables.items);
    this.#tree();
    this.#config();
  }

  #add(title) {
    const place = h("div");
    this.grid.append(section(title, place));
    return place;
  }

  /** Numbers at the top level of the summary. */
  #facts() {
    const own = this.summary?.[this.summary?.mode];
    const of = (tree) => Object.entries(tree ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
    const facts = [...new Map([...of(this.summary), ...of(Array.isArray(own) ? {} : own)])].slice(0, 40);
    if (!facts.length) return;
    const rows = facts.map(([name, value]) => h("div", {}, h("dt", { text: name.replaceAll("_", " ") }), h("dd", { text: shown(value) })));
    this.#add("Summary").append(h("dl", { class: "facts" }, ...rows));
  }

  async #files(head) {
    const place = h("ul", { class: "links", "aria-label": "Files of this run" });
    head.append(place);
    await tried(head, async () => {
      const files = Object.entries(await this.#named());
      for (const [file, size] of files.sort(([a], [b]) => (b === "report.html") - (a === "report.html"))) {
        const label = file === "report.html" ? "Open the report" : file;
        const button = h("button", { type: "button", class: file === "report.html" ? "main" : null, text: `${label} (${f.bytes(size)})` });
        button.addEventListener("click", () => tried(head, () => this.#hand(file)));
        place.append(h("li", {}, button));
      }
    });
  }

  /** Names and sizes of the files, which the list of runs has. */
  async #named() {
    let cursor = "";
    do {
      const page = await get(`/runs${query({ limit: 1000, cursor })}`);
      const found = page.items.find((one) => one.id === this.id);
      if (found) return found.files;
      cursor = page.next;
    } while (cursor);
    return {};
  }

  /** A browser sends no token along with a link, so the server gives one that works once. */
  async #hand(file) {
    const { url } = await post(`${this.path}/links`, { file });
    if (!url.startsWith("/api/v1/runs/")) throw new Error("the server's link leads elsewhere");
    h("a", { href: url, target: "_blank", rel: "noopener" }).click();
  }

  async #equity(place) {
    await tried(place, async () => {
      const { items, columns } = await get(`${this.path}/tables/equity?limit=1000`);
      const names = columns.map((one) => one.name);
      const at = names.find((one) => one.endsWith("_ns"));
      const value = ["equity", "net", "pnl"].find((one) => names.includes(one)) ?? names.find((one) => one !== at && typeof items[0]?.[one] === "number");
      if (!at || !value) return;
      const label = ["stream", "set"].find((one) => names.includes(one));
      const node = h("div", { class: "plot" });
      place.append(node);
      await plot(node, (of, look) => ({
        data: [...new Set(items.map((row) => row[label]))].map((own, v) => {
          const rows = items.filter((row) => row[label] === own);
          const line = { color: look(v).colour, width: 1.5 };
          return { type: "scatter", mode: "lines", name: String(own ?? value), line, x: rows.map((row) => new Date(row[at] / 1e6)), y: rows.map((row) => row[value]) };
        }),
        x: "", y: value,
      }));
      const total = items.length === 1000 ? "the first 1,000 rows" : `${f.whole(items.length)} rows`;
      place.append(h("p", { class: "none", text: `${total} of equity.parquet; all of it is in the report` }));
    });
  }

  async #lag(place) {
    await tried(place, async () => {
      const { items } = await get(`${this.path}/tables/lag_curve?limit=1000`);
      const node = h("div", { class: "plot" });
      place.append(node);
      await plot(node, (of, look) => ({
        data: [...new Set(items.map((row) => row.stream))].map((stream, v) => {
          const rows = items.filter((row) => row.stream === stream);
          const column = (name) => rows.map((row) => row[name]);
          const [mean, low, high] = ["mean", "ci_low", "ci_high"].map((name) => column(`realised_${name}_bp`));
          const error = {
            symmetric: false, thickness: 1, width: 3,
            array: high.map((one, at) => one - mean[at]), arrayminus: low.map((one, at) => mean[at] - one),
          };
          const style = { line: { color: look(v).colour }, marker: { color: look(v).colour, symbol: v } };
          return { type: "scatter", mode: "lines+markers", name: stream, x: column("latency_ms"), y: mean, error_y: error, ...style };
        }),
        x: "acting so much later, ms", y: "cost, bp, with 95 % interval", xaxis: { type: "log" },
      }));
    });
  }

  #tree() {
    if (!this.summary) return;
    const tree = h("div", { class: "tree" }, ...branches(this.summary));
    this.#add("summary.json").append(tree);
  }

  #config() {
    const place = this.#add("Settings of the run");
    const details = h("details", {}, h("summary", { text: "config.yaml, secrets blanked" }));
    place.append(details);
    details.addEventListener("toggle", () =>
      tried(place, async () => {
        if (details.children.length > 1) return;
        details.append(h("pre", { tabindex: "0", text: (await get(`${this.path}/config`)).yaml }));
      }), { once: true }); // prettier-ignore
  }
}

/** A tree of values; what is large stays folded until it is opened. */
function branches(value) {
  return Object.entries(value).map(([name, own]) => {
    if (own === null || typeof own !== "object") return h("p", {}, `${name}: `, h("b", { text: shown(own) }));
    const node = h("details", {}, h("summary", { text: `${name} (${Object.keys(own).length})` }));
    node.addEventListener("toggle", () => node.append(...branches(own)), { once: true });
    return node;
  });
}
