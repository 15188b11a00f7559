// Numbers, times and sizes as text. What is missing is a dash.

export const NONE = "–";
const formats = new Map();

function format(digits) {
  if (!formats.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formats.set(digits, new Intl.NumberFormat("en-US", options));
  }
  return formats.get(digits);
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 1234.5, 1 → "1,234.5" with a true minus sign. */
export function num(value, digits = 2) {
  if (!isNumber(value)) return NONE;
  const text = format(digits).format(value);
  return (/[1-9]/.test(text) ? text : text.replace("-", "")).replace("-", "\u2212");
}

/** The same, with its sign: a gain can be told from a loss without colour. */
export function signed(value, digits = 2) {
  const text = num(value, digits);
  return isNumber(value) && value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

export const whole = (value) => num(value, 0);

/** With as many digits as a number of unknown size needs. */
export function short(value, digits = 4) {
  if (!isNumber(value)) return NONE;
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return num(value, 0);
  const size = Math.abs(value);
  if (size >= 1e7 || (size < 1e-7 && size > 0)) return value.toExponential(digits - 1).replaceAll("-", "\u2212");
  if (!formats.has(`short${digits}`)) formats.set(`short${digits}`, new Intl.NumberFormat("en-US", { maximumSignificantDigits: digits }));
  return formats.get(`short${digits}`).format(value).replace("-", "\u2212");
}

/** Digits behind the point of a tick or lot size: 0.01 → 2. */
export function digitsOf(step) {
  if (!isNumber(step) || step <= 0) return 2;
  for (let digits = 0; digits < 10; digits++) {
    if (Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) < 1e-6) return digits;
  }
  return 8;
}

/** 0.5 ms → "0.50 ms", 90,000 ms → "1.5 min". */
export function duration(ms) {
  if (!isNumber(ms)) return NONE;
  if (ms < 1) return `${num(ms * 1000, ms < 0.1 ? 1 : 0)} µs`;
  if (ms < 1000) return `${num(ms, ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`;
  if (ms < 60_000) return `${num(ms / 1000, 1)} s`;
  if (ms < 3_600_000) return `${num(ms / 60_000, 1)} min`;
  return ms < 172_800_000 ? `${num(ms / 3_600_000, 1)} h` : `${num(ms / 86_400_000, 1)} d`;
}

export function bytes(count) {
  if (!isNumber(count)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) [count, at] = [count / 1024, at + 1];
  return `${num(count, at && count < 100 ? 1 : 0)} ${units[at]}`;
}

export const mib = (count) => bytes(isNumber(count) ? count * 1048576 : NaN);

const two = (value) => String(value).padStart(2, "0");

/** Local time of day of ns since 1970. */
export function time(ns, fraction = true) {
  if (!isNumber(ns)) return NONE;
  const at = new Date(ns / 1e6);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return fraction ? `${clock}.${String(at.getMilliseconds()).padStart(3, "0")}` : clock;
}

export function date(ns, fraction = false) {
  if (!isNumber(ns)) return NONE;
  const at = new Date(ns / 1e6);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time(ns, fraction)}`;
}

export const side = (value) => (value > 0 ? "buy" : value < 0 ? "sell" : NONE);

/** The folder of a run, as it is on the disk: ~ stands for /, ~~XX for a byte. */
export function folder(id) {
  const path = id.replaceAll(/~~([0-9A-F]{2})/g, "%$1").replaceAll("~", "/");
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // its name is no text
  }
}
