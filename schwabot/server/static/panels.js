// When panels are drawn: only after news, only while seen, each at its own pace, and never many in one frame.

import { $ } from "./dom.js";

const BUDGET_MS = 8;
const panels = [];
let isAsked = false;

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      for (const one of panels) if (one.node === entry.target) one.isSeen = entry.isIntersecting;
    }
    ask();
  },
  { rootMargin: "80px" },
);

/**
 * @param {string} id - of its element
 * @param {Array<string>} events - after which it is drawn anew
 * @param {number} every - ms between two drawings at least
 * @param {() => void} render
 */
export function panel(id, events, every, render) {
  const node = $(id);
  const due = (every / 7) * panels.length; // not all in the same moment
  panels.push({ node, events: new Set([...events, "all"]), every, render, due, isDirty: true, isSeen: false });
  seen.observe(node);
}

/** Something happened. */
export function news(events) {
  for (const one of panels) {
    if (one.isDirty) continue;
    for (const event of events) if (one.events.has(event)) one.isDirty = true;
  }
  ask();
}

/** Draw all anew at once. */
export function redrawAll() {
  for (const one of panels) [one.isDirty, one.due] = [true, 0];
  ask();
}

// A printed page holds what is out of sight, too.
addEventListener("beforeprint", () => {
  for (const one of panels) {
    if (!one.isDirty || !one.node.getClientRects().length) continue;
    one.isDirty = false;
    one.render();
  }
});

function ask() {
  if (isAsked || !panels.some((one) => one.isDirty && one.isSeen)) return;
  isAsked = true;
  requestAnimationFrame(draw);
}

function draw(now) {
  isAsked = false;
  const begun = performance.now();
  const due = panels.filter((one) => one.isDirty && one.isSeen && one.due <= now).sort((a, b) => a.due - b.due);
  for (const one of due) {
    one.isDirty = false;
    one.due = now + one.every;
    one.render();
    if (performance.now() - begun > BUDGET_MS) break;
  }
  ask();
}
