// The page: live events into the state, the state onto the panels.

import { Actions } from "./actions.js";
import { get, token } from "./api.js";
import { $, h } from "./dom.js";
import { Events } from "./events.js";
import { Header } from "./header.js";
import { History } from "./history.js";
import { addMachine } from "./machine.js";
import { addMarket } from "./market.js";
import { news, panel, redrawAll } from "./panels.js";
import { State } from "./state.js";
import { Table } from "./table.js";
import { apply, onTheme, theme } from "./theme.js";
import { addTrading } from "./trading.js";

const HEADER_MS = 100;

apply();
const state = new State();
const header = new Header(state);
const events = new Events(take, tell);
const actions = new Actions(state, () => (actions.identify(), events.start()));
const history = new History($("runs"));
let [shownMs, runKey, isSignInShown] = [0, "", false];

addMarket(state);
addTrading(state);
addMachine(state);
addSettings();

function take(event, data) {
  state.take(event, data);
  if (event === "snapshot") begun();
  if (state.changed.has("settings")) showSettings();
  if (event === "close" || event === "end") actions.show();
  news(state.changed);
  state.changed.clear();
  if (performance.now() - shownMs > HEADER_MS) show();
}

function tell(line, detail) {
  if (header.line.state === line && line === "open") return;
  header.line = { state: line, detail };
  if (line === "refused" && !isSignInShown) {
    isSignInShown = true;
    actions.signIn(detail.message);
  }
  show();
}

function show() {
  shownMs = performance.now();
  header.show();
}

/** A snapshot came: another run, or the same again. */
function begun() {
  isSignInShown = false;
  const key = `${state.run.run_dir} ${state.run.started_ns}`;
  if (key !== runKey) header.clear();
  runKey = key;
  const has = {
    market: state.streams.length > 0 && state.run.mode !== "sweep",
    trading: Boolean(state.trading.state),
    sweep: state.run.mode === "sweep",
    run: state.hasRun,
  };
  needs(has);
  actions.identify();
  showSettings();
  if (!state.hasRun && !location.hash) location.hash = "#runs";
}

let had = {};

function needs(has) {
  had = has;
  for (const node of document.querySelectorAll("[data-needs]")) node.hidden = !has[node.dataset.needs];
}

function addSettings() {
  const place = $("settings").querySelector(".body");
  const columns = [
    { name: "name", title: "setting", long: true, text: (row) => row.name },
    { name: "value", title: "value", long: true, text: (row) => JSON.stringify(row.value) },
  ];
  const change = (row) => actions.open("settings", row.name);
  const options = { key: (row) => row.name, open: change, empty: "none of this run's", most: 200 };
  const table = new Table(place, "Settings that may change", columns, options);
  const button = h("button", { type: "button", data: { do: "settings" }, text: "Change …", on: { click: () => change({ name: "" }) } });
  $("settings").querySelector("h2").after(button);
  panel("settings", ["settings"], 500, () => table.update(state.hot ?? []));
}

/** Read the settings anew: after a change, the run's own words count. */
async function showSettings() {
  state.hot = [];
  if (state.hasRun) {
    try {
      state.hot = (await get("/settings")).hot;
    } catch {
      // shown as none; the line's own state says why
    }
  }
  news(new Set(["settings"]));
}

function route() {
  const isPast = location.hash.startsWith("#run");
  $("live").hidden = isPast;
  $("runs").hidden = !isPast;
  for (const [id, own] of [["nav-live", !isPast], ["nav-runs", isPast]]) {
    if (own) $(id).setAttribute("aria-current", "page");
    else $(id).removeAttribute("aria-current");
  }
  if (isPast) history.open(location.hash);
  else redrawAll();
}

const names = { auto: "Auto", light: "Light", dark: "Dark" };
const showTheme = () => ($("theme").textContent = `${names[theme.get()]} theme`);
$("theme").addEventListener("click", () => theme.next());
onTheme(showTheme);
onTheme(redrawAll);
showTheme();

addEventListener("hashchange", route);
setInterval(() => {
  if (state.hasRun && !had.trading && state.trading.state) needs({ ...had, trading: true });
  show();
}, 500);
route();
needs({});
if (token.get()) actions.identify();
events.start();
