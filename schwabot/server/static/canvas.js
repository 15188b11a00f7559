// What every drawing shares: a canvas that fits its place, scales and ticks.

import { h } from "./dom.js";
import { colours, onTheme } from "./theme.js";

export const FONT = "11px system-ui, sans-serif";
const reads = new WeakMap();
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) reads.get(target)?.fit(contentRect.width);
});

export class Canvas {
  /**
   * @param {HTMLElement} host
   * @param {string} label - what it shows, for screen readers
   * @param {number} height - px
   */
  constructor(host, label, height) {
    this.node = h("canvas", { role: "img", "aria-label": label });
    this.frame = h("div", { class: "canvas" }, this.node);
    host.append(this.frame);
    this.label = label;
    this.pen = this.node.getContext("2d");
    Object.assign(this, { height, width: 0, plot: null });
    this.node.style.height = `${height}px`;
    reads.set(this.frame, this);
    sizes.observe(this.frame);
    onTheme(() => this.redraw());
  }

  fit(width) {
    if (Math.abs(width - this.width) < 1) return;
    this.width = width;
    this.redraw();
  }

  /** Draw something. */
  draw(plot) {
    this.plot = plot;
    this.redraw();
  }

  redraw() {
    if (!this.width || !this.plot) return;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (this.node.width !== width || this.node.height !== height) Object.assign(this.node, { width, height });
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.pen.clearRect(0, 0, this.width, this.height);
    this.pen.font = FONT;
    this.paint(this.plot, colours());
  }

  /** Say in words what is drawn. */
  describe(text) {
    const label = `${this.label}: ${text}`;
    if (this.node.getAttribute("aria-label") !== label) this.node.setAttribute("aria-label", label);
  }
}

/** A step of 1, 2 or 5 times a power of ten, so that about `count` of them fit. */
export function niceStep(span, count) {
  const rough = span / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

/** Values of an axis, and how many digits they need. */
export function ticks(low, high, count) {
  const step = niceStep(high - low, count);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9 * step; at++) found.push(at * step);
  return { values: found, digits };
}

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

/** Times of an axis, in ms. */
export function timeTicks(from, to, count) {
  const step = 1000 * (STEPS_S.find((one) => (1000 * one * count) / (to - from) >= 1) ?? 86_400 * 7);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}
