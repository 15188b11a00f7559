// Light or dark: as the system says, or as the switch says. Canvases are told when it changes.

const KEY = "schwabot.theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
let known = null;

export const theme = {
  get: () => localStorage.getItem(KEY) ?? "auto",
  next() {
    localStorage.setItem(KEY, NEXT[theme.get()]);
    apply();
  },
};

/** Colours of the style sheet, for canvases. */
export function colours() {
  if (known) return known;
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["text", "muted", "grid", "panel", "ghost", "low", "medium", "high", "good", "bad", "accent"];
  known = Object.fromEntries(names.map((name) => [name, read(name)]));
  known.streams = Array.from({ length: 8 }, (_, at) => read(`s${at}`));
  known.isDark = style.colorScheme.includes("dark");
  return known;
}

/** A stream's colour and dashes: those who can't tell the colours apart can tell the dashes. */
export function look(v) {
  const dashes = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [1, 3], [12, 4], [6, 2, 1, 2]];
  return { colour: colours().streams[v % 8], dash: dashes[v % 8] };
}

export function onTheme(act) {
  listeners.add(act);
}

export function apply() {
  const chosen = theme.get();
  document.documentElement.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
  known = null;
  for (const act of listeners) act();
}

system.addEventListener("change", apply);
