// Small drawings: the lane of every stream over time, and how long something takes.

import { Canvas, timeTicks } from "./canvas.js";
import { duration, time } from "./format.js";

const ROW = 22;
const LEFT = 64;

/** A row for each stream, coloured and as high as its lane. */
export class LaneStrip extends Canvas {
  constructor(host, label, streams) {
    super(host, label, ROW * Math.max(streams, 1) + 20);
  }

  paint({ from, to, lo, hi, x, lanes, names }, colours) {
    const { pen, width } = this;
    const fills = [colours.low, colours.medium, colours.high];
    const columns = Math.max(1, Math.floor(width - LEFT - 10));
    pen.textBaseline = "middle";
    lanes.forEach((lane, v) => {
      const foot = ROW * (v + 1) - 2;
      const most = new Int8Array(columns).fill(-1);
      for (let at = lo; at < hi; at++) {
        if (Number.isNaN(lane[at])) continue;
        const column = Math.min(columns - 1, Math.max(0, Math.floor(((x[at] - from) / (to - from)) * columns)));
        const next = at + 1 < hi ? Math.min(columns - 1, Math.floor(((x[at + 1] - from) / (to - from)) * columns)) : column;
        for (let one = column; one <= Math.max(column, next - 1); one++) most[one] = Math.max(most[one], lane[at]);
      }
      let start = 0;
      for (let at = 1; at <= columns; at++) {
        if (at < columns && most[at] === most[start]) continue;
        if (most[start] >= 0) {
          const high = 5 + 6.5 * most[start];
          pen.fillStyle = fills[most[start]];
          pen.fillRect(LEFT + start, foot - high, at - start, high);
        }
        start = at;
      }
      pen.fillStyle = colours.muted;
      pen.textAlign = "right";
      pen.fillText(names[v], LEFT - 6, foot - 8, LEFT - 8);
    });
    pen.textAlign = "center";
    for (const ms of timeTicks(from, to, columns / 80)) {
      const at = LEFT + ((ms - from) / (to - from)) * columns;
      if (at > LEFT + 24 && at < width - 24) pen.fillText(time(ms * 1e6, false), at, this.height - 8);
    }
  }
}

/** Counts in bins of a tenth of a power of ten, from 1 µs. */
export class Histogram extends Canvas {
  constructor(host, label) {
    super(host, label, 86);
  }

  paint({ counts, marks }, colours) {
    const { pen, width } = this;
    const bottom = this.height - 18;
    const some = counts.map((count, at) => [count, at]).filter(([count]) => count);
    if (!some.length) return;
    const first = Math.floor((some[0][1] - 2) / 10) * 10;
    const end = Math.ceil((some.at(-1)[1] + 3) / 10) * 10;
    const px = (bin) => 4 + ((bin - first) / (end - first)) * (width - 8);
    const most = Math.max(...counts);
    pen.fillStyle = colours.accent;
    for (const [count, at] of some) {
      const high = Math.max(1, (count / most) * (bottom - 16));
      pen.fillRect(px(at) + 0.5, bottom - high, Math.max(1, px(at + 1) - px(at) - 1), high);
    }
    pen.textBaseline = "top";
    pen.fillStyle = pen.strokeStyle = colours.muted;
    pen.fillRect(4, bottom, width - 8, 1);
    for (let bin = first; bin <= end; bin += 10) {
      const text = duration(1e-3 * 10 ** (bin / 10)).replace(/\.0+ /, " ");
      pen.textAlign = bin === first ? "left" : bin === end ? "right" : "center";
      if ((end - first) / 10 <= 5 || (bin / 10) % 2 === 0) pen.fillText(text, px(bin), bottom + 4);
    }
    pen.fillStyle = colours.text;
    for (const [name, bin] of marks) {
      pen.fillRect(Math.round(px(bin)), 12, 1, bottom - 12);
      pen.textAlign = px(bin) > width - 30 ? "right" : "center";
      pen.fillText(name, px(bin), 0);
    }
  }
}

/** The bin that holds a share of all counts. */
export function quantile(counts, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let [left, at] = [share * total, 0];
  while (at < counts.length - 1 && counts[at] < left) left -= counts[at++];
  return at + 0.5;
}

export const binMs = (bin) => 1e-3 * 10 ** (bin / 10);
