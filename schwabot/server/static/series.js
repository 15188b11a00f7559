// The points of the live charts: the newest of them, in columns without gaps, in bounded memory.

const ROOM = 18_000; // 15 minutes of 20 a second
const WIDE = ["mid_bp", "deviation_bp", "drift", "voltage", "lane"];

const value = (given) => (given === null || given === undefined ? NaN : given);

export class Series {
  /** @param {number} streams */
  constructor(streams) {
    this.first = this.end = 0;
    this.ms = new Float64Array(2 * ROOM);
    this.ghost = new Float64Array(2 * ROOM);
    this.wide = {};
    for (const name of WIDE) this.wide[name] = Array.from({ length: streams }, () => new Float64Array(2 * ROOM));
  }

  #columns() {
    return [this.ms, this.ghost, ...Object.values(this.wide).flat()];
  }

  /** Add columns as the server sends them. */
  add(points) {
    for (let k = 0; k < (points.ts_ns ?? []).length; k++) {
      if (this.end === 2 * ROOM) {
        for (const column of this.#columns()) column.copyWithin(0, ROOM);
        [this.first, this.end] = [0, ROOM];
      }
      const at = this.end++;
      this.first = Math.max(this.first, this.end - ROOM);
      this.ms[at] = points.ts_ns[k] / 1e6;
      this.ghost[at] = value(points.ghost_bp[k]);
      for (const name of WIDE) this.wide[name].forEach((column, v) => (column[at] = value(points[name][k][v])));
    }
  }

  get newest() {
    return this.end > this.first ? this.ms[this.end - 1] : NaN;
  }

  /** Where the points at and after a time begin. */
  from(ms) {
    let [low, high] = [this.first, this.end];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ms[middle] < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
