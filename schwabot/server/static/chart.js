// Lines over time, or over something on a logarithmic axis, on a canvas: a redraw takes about a millisecond.

import { Canvas, ticks, timeTicks } from "./canvas.js";
import { h, put } from "./dom.js";
import { duration, num, time } from "./format.js";

const EDGE = { left: 64, right: 10, top: 8, bottom: 20 };

export class LineChart extends Canvas {
  /**
   * @param {HTMLElement} host
   * @param {string} label
   * @param {Object} options - `unit`, `height`, `digits` of values; `log`: x is not a time but on a logarithmic axis, in
   *   ms, or in what `mark(x)` says
   */
  constructor(host, label, options = {}) {
    super(host, label, options.height ?? 220);
    this.options = options;
    this.hidden = new Set();
    this.legend = h("ul", { class: "legend", "aria-label": `lines of ${label}` });
    this.items = new Map();
    host.append(this.legend);
    this.tip = h("div", { class: "tip", hidden: true });
    this.frame.append(this.tip);
    this.frame.addEventListener("pointermove", (event) => this.#hover(event.offsetX));
    this.frame.addEventListener("pointerleave", () => this.#hover(null));
  }

  /**
   * @param {Object} plot - `from`, `to` on x; `lines` of {name, x, y, lo, hi, colour, dash, wide, error, marks, note};
   *   `guides` of {y, label}; `zero`: the y axis holds 0
   */
  draw(plot) {
    this.#legend(plot.lines);
    super.draw(plot);
  }

  #legend(lines) {
    for (const line of lines) {
      let item = this.items.get(line.name);
      if (!item) {
        const swatch = h("canvas", { width: "24", height: "8", "aria-hidden": "true" });
        const [name, note] = [h("span", { text: line.name }), h("b")];
        const button = h("button", { type: "button", "aria-pressed": "true" }, swatch, name, note);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(line.name)) this.hidden.add(line.name);
          button.setAttribute("aria-pressed", String(!this.hidden.has(line.name)));
          this.redraw();
        });
        item = { row: h("li", {}, button), swatch, note };
        this.items.set(line.name, item);
        this.legend.append(item.row);
      }
      if (item.colour !== line.colour) {
        item.colour = line.colour;
        sample(item.swatch, line);
      }
      put(item.note, line.note ?? "");
    }
    for (const [name, item] of this.items) {
      if (lines.some((line) => line.name === name)) continue;
      item.row.remove();
      this.items.delete(name);
    }
  }

  paint(plot, colours) {
    const { pen } = this;
    const lines = plot.lines.filter((line) => !this.hidden.has(line.name));
    const span = range(lines, plot);
    const right = this.width - EDGE.right;
    const bottom = this.height - EDGE.bottom;
    const map = this.options.log ? Math.log10 : (x) => x;
    const [from, to] = [map(plot.from), map(plot.to)];
    const px = (x) => EDGE.left + ((map(x) - from) / (to - from || 1)) * (right - EDGE.left);
    const py = (y) => bottom - ((y - span.low) / (span.high - span.low)) * (bottom - EDGE.top);
    this.scale = { px, py, span, right, bottom };
    this.#grid(plot, colours, span);
    pen.save();
    pen.beginPath();
    pen.rect(EDGE.left, EDGE.top - 2, right - EDGE.left, bottom - EDGE.top + 4);
    pen.clip();
    for (const line of lines) this.#line(line, px, py);
    pen.restore();
    if (this.at !== null && this.at !== undefined) this.#cross(plot, lines, colours);
  }

  #grid(plot, colours, span) {
    const { pen, scale } = this;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.lineWidth = 1;
    const { values, digits } = ticks(span.low, span.high, Math.max(2, this.height / 30));
    for (const value of values) {
      const y = Math.round(scale.py(value)) + 0.5;
      pen.strokeStyle = Math.abs(value) < 1e-12 && plot.zero ? colours.muted : colours.grid;
      stroke(pen, EDGE.left, y, scale.right, y);
      pen.fillStyle = colours.muted;
      pen.fillText(num(value, digits), EDGE.left - 6, y);
    }
    for (const guide of plot.guides ?? []) {
      if (guide.y < span.low || guide.y > span.high) continue;
      const y = Math.round(scale.py(guide.y)) + 0.5;
      pen.setLineDash([3, 4]);
      pen.strokeStyle = colours.muted;
      stroke(pen, EDGE.left, y, scale.right, y);
      pen.setLineDash([]);
      pen.textAlign = "left";
      pen.fillText(guide.label, EDGE.left + 4, y - 7);
      pen.textAlign = "right";
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    pen.fillStyle = colours.muted;
    const room = (scale.right - EDGE.left) / 80;
    const marks = this.options.log
      ? (plot.marks ?? []).map((ms) => [ms, (this.options.mark ?? markMs)(ms)])
      : timeTicks(plot.from, plot.to, room).map((ms) => [ms, time(ms * 1e6, false)]);
    let free = -Infinity;
    for (const [x, text] of marks) {
      const [at, half] = [scale.px(x), pen.measureText(text).width / 2];
      if (at - half < free || at + half > this.width) continue;
      pen.fillText(text, at, scale.bottom + 5);
      free = at + half + 8;
    }
  }

  #line(line, px, py) {
    const { pen } = this;
    pen.strokeStyle = pen.fillStyle = line.colour;
    pen.lineWidth = line.wide ?? 1.5;
    pen.setLineDash(line.dash ?? []);
    pen.lineJoin = "round";
    pen.beginPath();
    // One column of pixels at a time: its first, lowest, highest and last value are all that can be seen.
    let [column, low, high, last, isOpen] = [null, 0, 0, 0, false];
    for (let at = line.lo; at < line.hi; at++) {
      const value = line.y[at];
      if (Number.isNaN(value)) {
        if (isOpen && column !== null) pen.lineTo(column, last);
        [column, isOpen] = [null, false];
        continue;
      }
      const [x, y] = [Math.round(px(line.x[at]) * 2) / 2, py(value)];
      if (x === column) {
        [low, high, last] = [Math.min(low, y), Math.max(high, y), y];
        continue;
      }
      if (column !== null && high - low > 0.5) {
        pen.lineTo(column, low);
        pen.lineTo(column, high);
        pen.lineTo(column, last);
      }
      if (isOpen) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      [column, low, high, last, isOpen] = [x, y, y, y, true];
    }
    pen.stroke();
    pen.setLineDash([]);
    if (!line.error && !line.marks) return;
    for (let at = line.lo; at < line.hi; at++) {
      if (Number.isNaN(line.y[at])) continue;
      const [x, y] = [px(line.x[at]), py(line.y[at])];
      if (line.error) {
        const [top, foot] = [py(line.y[at] + line.error[at]), py(line.y[at] - line.error[at])];
        stroke(pen, x, top, x, foot);
        stroke(pen, x - 3, top, x + 3, top);
        stroke(pen, x - 3, foot, x + 3, foot);
      }
      pen.beginPath();
      pen.arc(x, y, 2.5, 0, 7);
      pen.fill();
    }
  }

  #hover(at) {
    this.at = at;
    this.tip.hidden = at === null;
    this.redraw();
  }

  #cross(plot, lines, colours) {
    const { scale, pen, options } = this;
    const at = Math.min(Math.max(this.at, EDGE.left), scale.right);
    pen.strokeStyle = colours.muted;
    stroke(pen, Math.round(at) + 0.5, EDGE.top, Math.round(at) + 0.5, scale.bottom);
    const rows = [];
    let when = null;
    for (const line of lines) {
      const index = nearest(line, scale.px, at);
      if (index === null) continue;
      when ??= line.x[index];
      const error = line.error ? ` ± ${num(line.error[index], options.digits ?? 2)}` : "";
      rows.push(`${line.name}  ${num(line.y[index], options.digits ?? 2)}${error}`);
    }
    const head = when === null ? "" : options.log ? (options.mark ?? markMs)(when) : time(when * 1e6);
    put(this.tip, [`${head}${options.unit ? `   ${options.unit}` : ""}`, ...rows].join("\n"));
    this.tip.style.left = `${at > this.width / 2 ? 0 : this.width / 2}px`;
    this.tip.style.transform = at > this.width / 2 ? `translateX(${EDGE.left + 6}px)` : "none";
  }
}

const markMs = (ms) => duration(ms).replace(/\.0+ /, " ");

function stroke(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function sample(canvas, line) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, 24, 8);
  pen.strokeStyle = line.colour;
  pen.lineWidth = line.wide ?? 2;
  pen.setLineDash(line.dash ?? []);
  stroke(pen, 0, 4, 24, 4);
}

function nearest(line, px, at) {
  let [low, high] = [line.lo, line.hi - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (px(line.x[middle]) < at) low = middle + 1;
    else high = middle;
  }
  while (low > line.lo && Number.isNaN(line.y[low])) low--;
  return low >= line.lo && low < line.hi && !Number.isNaN(line.y[low]) ? low : null;
}

function range(lines, plot) {
  let [low, high] = plot.zero ? [0, 0] : [Infinity, -Infinity];
  for (const line of lines) {
    for (let at = line.lo; at < line.hi; at++) {
      const [value, error] = [line.y[at], line.error?.[at] || 0];
      if (value - error < low) low = value - error;
      if (value + error > high) high = value + error;
    }
  }
  if (plot.least !== undefined) [low, high] = [Math.min(low, plot.least[0]), Math.max(high, plot.least[1])];
  if (!(high >= low)) [low, high] = [0, 1];
  const room = 0.06 * (high - low) || Math.abs(high) * 1e-4 || 0.5;
  return { low: low - room, high: high + room };
}
