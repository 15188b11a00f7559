// Any table of a past run: sorted and paged by the server.

import { get, query } from "./api.js";
import { h } from "./dom.js";
import * as f from "./format.js";
import { Table } from "./table.js";

const PAGE = 100;

/** A value as text, by the name of its column. */
export function cell(name, value) {
  if (value === null || value === undefined) return f.NONE;
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_ns") && value > 1e17) return f.date(value, true);
  return f.short(value, 5);
}

export class RowsTable {
  /**
   * @param {HTMLElement} host
   * @param {string} path - of the run in the API
   * @param {Array<Object>} tables - as GET …/tables gives them
   */
  constructor(host, path, tables) {
    Object.assign(this, { path, sort: "", rows: [], next: null });
    const named = tables.map((one) => h("option", { value: one.name, text: `${one.name} (${one.error ?? `${f.whole(one.rows)} rows`})` }));
    this.choice = h("select", {}, ...named);
    this.choice.addEventListener("change", () => this.#open());
    this.place = h("div");
    this.more = h("button", { type: "button", text: "More", on: { click: () => this.#load(true) } });
    this.note = h("p", { class: "none", role: "status" });
    host.append(h("div", { class: "filter" }, h("label", {}, "Table", this.choice)), this.place, this.more, this.note);
    this.#open();
  }

  #open() {
    Object.assign(this, { sort: "", table: null });
    this.place.replaceChildren();
    this.#load(false);
  }

  async #load(more) {
    const name = this.choice.value;
    try {
      const asked = query({ sort: this.sort, limit: PAGE, cursor: more ? this.next : "" });
      const page = await get(`${this.path}/tables/${encodeURIComponent(name)}${asked}`);
      if (name !== this.choice.value) return;
      this.rows = more ? [...this.rows, ...page.items] : page.items;
      this.next = page.next;
      this.more.hidden = !page.next;
      this.table ??= this.#made(page.columns);
      this.table.update(this.rows);
      this.note.textContent = `${f.whole(this.rows.length)} of ${f.whole(page.total)} rows`;
    } catch (error) {
      this.more.hidden = true;
      this.note.textContent = `${error.message}. ${error.todo ?? ""}`;
    }
  }

  #made(columns) {
    const made = columns.map(({ name, type }) => ({
      name, title: name, number: /int|double|float|decimal/.test(type), text: (row) => cell(name, row[name]),
    }));
    const sort = (name, down) => {
      this.sort = `${down ? "-" : ""}${name}`;
      this.#load(false);
    };
    return new Table(this.place, `Rows of ${this.choice.value}`, made, { most: 5000, sort, empty: "no rows" });
  }
}
