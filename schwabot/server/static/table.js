// Tables that are updated in place and can be sorted by any column.

import { attribute, h, put } from "./dom.js";

/**
 * A column: `name`, `title`, `text(row)`, and perhaps `value(row)` to sort by, `number` (aligned to the right),
 * `kind(row)` (a word for the style), `title2` (unit), `wide` (hidden where there is no room).
 */
export class Table {
  /**
   * @param {HTMLElement} host
   * @param {string} caption - for screen readers
   * @param {Array<Object>} columns
   * @param {Object} options - `key(row)`, `most` rows, `empty` text, `open(row)` when one is chosen, `sort(name)` to
   *   have someone else sort, `cards`: on a phone a row is a block of titled values
   */
  constructor(host, caption, columns, options = {}) {
    Object.assign(this, { columns, options, known: new Map(), rows: [], by: null, down: true });
    this.heads = columns.map((column) => this.#head(column));
    this.body = h("tbody");
    this.none = h("p", { class: "none" });
    this.table = h(
      "table",
      { class: options.cards ? "cards" : null },
      h("caption", { class: "unseen", text: caption }),
      h("thead", {}, h("tr", {}, ...this.heads)),
      this.body,
    );
    const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": caption };
    host.replaceChildren(h("div", scroll, this.table), this.none);
  }

  #head(column) {
    const unit = column.unit ? h("span", { class: "unit", text: ` ${column.unit}` }) : null;
    const button = h("button", { type: "button", on: { click: () => this.#sortBy(column) } }, column.title, unit);
    return h("th", { scope: "col", class: classes(column) }, button);
  }

  #sortBy(column) {
    this.down = this.by === column ? !this.down : Boolean(column.number);
    this.by = column;
    this.mark(column.name, this.down);
    if (this.options.sort) this.options.sort(column.name, this.down);
    else this.update(this.rows);
  }

  /** Show by which column it is sorted. */
  mark(name, down) {
    this.by = this.columns.find((column) => column.name === name) ?? null;
    this.down = down;
    this.heads.forEach((head, at) => {
      const own = this.columns[at] === this.by;
      attribute(head, "aria-sort", own ? (down ? "descending" : "ascending") : null);
    });
  }

  #sorted(rows) {
    if (!this.by || this.options.sort) return rows;
    const value = this.by.value ?? this.by.text;
    const factor = this.down ? -1 : 1;
    const isMissing = (one) => one === null || one === undefined || Number.isNaN(one);
    return [...rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (isMissing(left) || isMissing(right)) return Number(isMissing(left)) - Number(isMissing(right));
      return factor * (left < right ? -1 : left > right ? 1 : 0);
    });
  }

  /** Show these rows. */
  update(rows) {
    put(this.none, this.options.empty ?? "nothing yet"); // not before somebody has looked
    this.rows = rows;
    const shown = this.#sorted(rows).slice(0, this.options.most ?? 50);
    const before = this.known;
    this.known = new Map();
    let at = this.body.firstElementChild;
    for (const [number, row] of shown.entries()) {
      const key = this.options.key ? this.options.key(row) : number;
      const line = before.get(key) ?? this.#line();
      before.delete(key);
      this.known.set(key, line);
      this.#fill(line, row);
      if (line === at) at = at.nextElementSibling;
      else this.body.insertBefore(line, at);
    }
    for (const line of before.values()) line.remove();
    this.none.hidden = shown.length > 0;
    this.table.hidden = shown.length === 0;
  }

  #line() {
    const line = h("tr", {}, ...this.columns.map((column) => h("td", { class: classes(column), data: { title: titled(column) } })));
    if (this.options.open) {
      line.tabIndex = 0;
      line.classList.add("opens");
      line.addEventListener("click", () => this.options.open(line.row));
      line.addEventListener("keydown", (event) => event.key === "Enter" && this.options.open(line.row));
    }
    return line;
  }

  #fill(line, row) {
    line.row = row;
    this.columns.forEach((column, at) => {
      const cell = line.children[at];
      put(cell, column.text(row));
      if (column.kind) attribute(cell, "data-kind", column.kind(row));
      if (column.hint) attribute(cell, "title", column.hint(row));
    });
  }
}

function titled(column) {
  return column.unit ? `${column.title} ${column.unit}` : column.title;
}

function classes(column) {
  return [column.number && "number", column.wide && "wide", column.long && "long"].filter(Boolean).join(" ") || null;
}
