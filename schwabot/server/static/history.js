// Past runs: their list, and one of them.

import { get, query } from "./api.js";
import { h } from "./dom.js";
import * as f from "./format.js";
import { PastRun } from "./past_run.js";
import { Table } from "./table.js";

const MODES = ["", "replay", "fit", "backtest", "sweep", "leadlag", "paper", "live", "record", "convert"];
const STATES = { failed: "bad", broken: "bad", interrupted: "warn", unfinished: "muted" };
const SORTS = { started: "started", mode: "mode", events: "events", wall: "wall_s", net: "net", fills: "fills", sharpe: "sharpe", r2: "r2" };

export class History {
  constructor(host) {
    this.host = host;
    Object.assign(this, { rows: [], next: null, mode: "", sort: "-started", shown: "" });
  }

  /** Show what the address says: #runs, or #run/ID. */
  open(hash) {
    if (hash === this.shown) return;
    this.shown = hash;
    if (hash.startsWith("#run/")) {
      let id = hash.slice(5);
      try {
        id = decodeURIComponent(id);
      } catch {
        // it will not be found, and that is said
      }
      new PastRun(this.host, id).open();
    } else this.#list();
  }

  #list() {
    const number = (name, title, unit, digits, more = {}) => ({
      name, title, unit, number: true, text: (row) => f.signed(row.headline[name], digits), ...more,
    });
    const columns = [
      { name: "started", title: "began", text: (row) => f.date(row.started_ns) },
      { name: "mode", title: "mode", text: (row) => row.mode ?? f.NONE },
      { name: "state", title: "state", text: (row) => row.state, kind: (row) => STATES[row.state] ?? null, hint: (row) => row.error },
      number("net", "net", "", 2, { text: (row) => (row.headline.net === undefined ? f.NONE : `${f.signed(row.headline.net, 2)} ${row.headline.currency ?? ""}`) }),
      number("fills", "fills", "", 0, { text: (row) => f.whole(row.headline.fills) }),
      number("sharpe", "Sharpe", "a year", 2, { wide: true }),
      number("r2", "R² at 100 ms", "", 3, { wide: true }),
      { name: "events", title: "events", number: true, wide: true, text: (row) => f.whole(row.events) },
      { name: "wall", title: "took", number: true, wide: true, text: (row) => f.duration(row.wall_s === null ? NaN : 1000 * row.wall_s) },
      { name: "device", title: "device", wide: true, text: (row) => row.device ?? f.NONE },
      { name: "id", title: "folder", wide: true, long: true, text: (row) => f.folder(row.id) },
    ];
    const mode = h("select", { id: "mode" }, ...MODES.map((one) => h("option", { value: one, text: one || "all" })));
    mode.value = this.mode;
    mode.addEventListener("change", () => {
      this.mode = mode.value;
      this.#load(false);
    });
    const place = h("div");
    this.more = h("button", { type: "button", text: "More", hidden: true, on: { click: () => this.#load(true) } });
    this.note = h("p", { class: "none", role: "status" });
    this.links = h("p", { class: "none" });
    const again = h("button", { type: "button", text: "Look again", on: { click: () => this.#load(false) } });
    const filter = h("div", { class: "filter" }, h("label", {}, "Mode", mode), again);
    const title = h("header", {}, h("h2", { id: "runs-title", text: "Runs" }));
    const panel = h("section", { class: "panel", "aria-labelledby": "runs-title" }, title, filter, place, this.more, this.note, this.links);
    this.host.replaceChildren(panel);
    this.table = new Table(place, "Past runs", columns, {
      key: (row) => row.id,
      most: 5000,
      cards: true,
      empty: "",
      open: (row) => (location.hash = `#run/${encodeURIComponent(row.id)}`),
      sort: (name, down) => {
        if (!SORTS[name]) return;
        this.sort = `${down ? "-" : ""}${SORTS[name]}`;
        this.#load(false);
      },
    });
    this.table.mark("started", true);
    this.sort = "-started";
    this.#load(false);
  }

  async #load(more) {
    const { mode, sort } = this;
    try {
      const page = await get(`/runs${query({ mode, sort, limit: 100, cursor: more ? this.next : "" })}`);
      this.rows = more ? [...this.rows, ...page.items] : page.items;
      this.next = page.next;
      this.more.hidden = !page.next;
      this.table.update(this.rows);
      const cut = page.complete ? "" : "; there are more folders than are looked through";
      this.note.textContent = page.total ? `${f.whole(this.rows.length)} of ${f.whole(page.total)} runs${cut}` : "There is no run here yet.";
      this.links.replaceChildren(...tensorboard(page.links));
    } catch (error) {
      this.note.textContent = `${error.message}. ${error.todo ?? ""}`;
    }
  }
}

/** A link to TensorBoard, or how to start it. */
export function tensorboard(links) {
  if (links.tensorboard && /^https?:\/\//.test(links.tensorboard)) {
    return [h("a", { href: links.tensorboard, target: "_blank", rel: "noopener noreferrer", text: "TensorBoard" })];
  }
  return ["TensorBoard: ", h("code", { text: links.tensorboard_command }), " on the server's machine"];
}
