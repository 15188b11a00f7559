// A past sweep: its parameter sets, sorted by the server, and a heat map over two of its parameters.

import { get, query } from "./api.js";
import { h } from "./dom.js";
import * as f from "./format.js";
import { plot } from "./plots.js";
import { cell } from "./rows_table.js";
import { Table } from "./table.js";

const REDUCE = { median: "median of", max: "largest", mean: "mean of", count: "number of sets" };

export class SweepView {
  constructor(host, path) {
    Object.assign(this, { path, sort: "-net", rows: [], next: null, table: null });
    this.place = h("div");
    this.note = h("p", { class: "none", role: "status" });
    this.more = h("button", { type: "button", text: "More", on: { click: () => this.#load(true) } });
    this.map = h("div");
    host.append(this.map, h("h3", { text: "parameter sets: searched, and held out" }), this.place, this.more, this.note);
    this.#load(false);
  }

  async #load(more) {
    try {
      const page = await get(`${this.path}/sweep${query({ sort: this.sort, limit: 100, cursor: more ? this.next : "" })}`);
      this.rows = more ? [...this.rows, ...page.items] : page.items;
      this.next = page.next;
      this.more.hidden = !page.next;
      if (!this.table) {
        this.#made(page);
        this.#addMap(page);
      }
      this.table.update(this.rows);
      this.note.textContent = `${f.whole(this.rows.length)} of ${f.whole(page.total)} sets with fills. The best of many tries looks better than it is: see held_out_*, and the report's guards.`;
    } catch (error) {
      this.more.hidden = true;
      this.note.textContent = `${error.message}. ${error.todo ?? ""}`;
    }
  }

  #made(page) {
    const names = [...new Set(["set", ...page.parameters, ...page.results])].filter((one) => one in (page.items[0] ?? {}));
    const columns = names.map((name) => ({
      name, title: name.split(".").at(-1), number: true, text: (row) => cell(name, row[name]), hint: () => name,
    }));
    const sort = (name, down) => {
      this.sort = `${down ? "-" : ""}${name}`;
      this.#load(false);
    };
    this.table = new Table(this.place, "Parameter sets", columns, { key: (row) => row.set, most: 5000, sort });
    this.table.mark("net", true);
  }

  #addMap(page) {
    if (page.parameters.length < 2) return;
    const choice = (label, names, value) => {
      const select = h("select", {}, ...names.map((one) => h("option", { value: one, text: REDUCE[one] ?? one })));
      select.value = value;
      select.addEventListener("change", () => this.#draw());
      return [select, h("label", {}, label, select)];
    };
    const [x, xLabel] = choice("across", page.parameters, page.parameters[0]);
    const [y, yLabel] = choice("up", page.parameters, page.parameters[1]);
    const [reduce, reduceLabel] = choice("colour", Object.keys(REDUCE), "median");
    const [value, valueLabel] = choice("of", page.results, "net");
    Object.assign(this, { x, y, reduce, value });
    this.plot = h("div", { class: "plot tall", role: "img", "aria-label": "Heat map of the sweep" });
    this.said = h("p", { class: "none", role: "status" });
    this.map.append(h("div", { class: "filter" }, xLabel, yLabel, reduceLabel, valueLabel), this.plot, this.said);
    this.#draw();
  }

  async #draw() {
    const asked = { x: this.x.value, y: this.y.value, value: this.value.value, reduce: this.reduce.value };
    try {
      const found = await get(`${this.path}/heatmap${query(asked)}`);
      const counted = asked.reduce === "count";
      const values = found.z.flat().filter((one) => one !== null);
      const most = Math.max(...values.map(Math.abs), 1e-12);
      const isBoth = !counted && values.some((one) => one < 0);
      await plot(this.plot, (of) => ({
        data: [{
          type: "heatmap", x: found.x.labels, y: found.y.labels, z: found.z, customdata: found.sets, hoverongaps: false,
          xgap: 1, ygap: 1,
          // Blue to orange by way of the page's own colour at 0: seen alike by colour-blind people.
          colorscale: isBoth ? [[0, of.high], [0.5, of.grid], [1, of.accent]] : [[0, of.grid], [1, of.accent]],
          zmin: isBoth ? -most : undefined, zmax: isBoth ? most : undefined,
          colorbar: { thickness: 12, outlinewidth: 0 },
          hovertemplate: `${asked.x} %{x}<br>${asked.y} %{y}<br>${asked.value} %{z}<br>%{customdata} sets<extra></extra>`,
        }],
        x: asked.x, y: asked.y, xaxis: { type: "category", showgrid: false }, yaxis: { type: "category", showgrid: false },
      }));
      const best = values.length ? f.short(Math.max(...values)) : f.NONE;
      this.plot.setAttribute("aria-label", `Heat map: ${REDUCE[asked.reduce]} ${asked.value} by ${asked.x} and ${asked.y}; highest cell ${best}`);
      this.said.textContent = asked.x === asked.y ? "Choose two different parameters." : "";
    } catch (error) {
      this.said.textContent = `${error.message}. ${error.todo ?? ""}`;
    }
  }
}
