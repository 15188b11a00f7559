// What a person may do: halt, resume, reduce, cancel all, change settings. Each asks once more, and shows the answer.

import { get, patch, post, token } from "./api.js";
import { $, attribute, h } from "./dom.js";

const RANKS = ["none", "viewer", "operator", "admin"];
const ACTS = {
  halt: ["Halt", "No order leaves any more, and what is open is cancelled. Positions are not closed.", "halted from the dashboard"],
  resume: ["Resume", "Trading goes on, once what is held is what our fills say.", ""],
  reduce: ["Reduce", "Only orders that make a position smaller leave from now on.", "reduced from the dashboard"],
  cancel_all: ["Cancel all", "Every open order is cancelled; then trading goes on.", "cancelled from the dashboard"],
  settings: ["Change a setting", "It comes into force between two batches of events.", ""],
};

export class Actions {
  /**
   * @param {State} state - of the run
   * @param {() => void} signed - called after the token has changed
   */
  constructor(state, signed) {
    Object.assign(this, { state, signed, who: { role: "viewer", name: "-" } });
    for (const button of document.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.open(button.dataset.do));
    }
    $("who").addEventListener("click", () => this.signIn());
    this.show();
  }

  /** Ask the server who we are to it. */
  async identify() {
    this.who = { role: token.get() ? "" : "viewer", name: token.get() ? "token" : "-" };
    if (this.state.hasRun) {
      try {
        this.who = await get("/control");
      } catch (error) {
        if (error.status === 401) this.who = { role: "none", name: "-" };
      }
    }
    this.show();
  }

  /** Why something can't be done by who is here; empty if it can. */
  why(name) {
    const { state, who } = this;
    if (!state.hasRun) return "no run is going on here";
    if (state.isOver) return "the run has ended";
    if (!state.run.actions.includes(name)) return `mode=${state.run.mode} has nothing to ${ACTS[name][0].toLowerCase()}`;
    const role = name === "settings" ? "admin" : "operator";
    if (token.get() && who.role && RANKS.indexOf(who.role) < RANKS.indexOf(role)) {
      return `${who.name} is ${who.role}; this needs the role ${role}`;
    }
    return "";
  }

  /** Show what can be done. */
  show() {
    for (const button of document.querySelectorAll("[data-do]")) {
      const why = this.why(button.dataset.do);
      attribute(button, "aria-disabled", why ? "true" : null);
      attribute(button, "title", why || ACTS[button.dataset.do][1]);
    }
    const { name, role } = this.who;
    $("who").textContent = token.get() ? `${name}${role ? ` (${role})` : ""}` : "Sign in";
  }

  /** A dialog for an action. */
  async open(name, setting = "") {
    const why = this.why(name);
    const [label, meaning, reason] = ACTS[name];
    if (why) return this.#refused(name, label, why);
    const account = this.state.trading.account ?? null;
    const isSending = Boolean(this.state.trading.sending);
    const fields = [];
    let hot = null;
    if (name === "settings") {
      hot = await this.#settingFields(fields, setting);
      if (!hot) return undefined;
    }
    const text = field(fields, "Reason, for the journal and the log", "text", { name: "why", required: true, maxlength: 300, value: reason });
    const typed = name === "resume" && isSending ? field(fields, `Type the account's name, ${account}`, "text", { name: "confirm", required: true }) : null;
    return dialog({
      title: `${label}?`,
      lines: [meaning, this.#about(account, isSending)],
      fields,
      focus: name === "halt" ? "submit" : "field",
      act: label,
      kind: name === "halt" ? "halt" : "main",
      submit: async (own) => {
        if (typed && typed.value !== account) throw new Error(`the account is ${account}: type that`);
        if (hot) return (await patch("/settings", { changes: hot.changes(), why: text.value }, own)).said;
        return (await post("/control", { do: name, why: text.value, confirm: account ?? "" }, own)).said;
      },
      signed: () => this.signed(),
    });
  }

  #about(account, isSending) {
    const { run } = this.state;
    const how = account === null ? "" : isSending ? ", and its orders leave for the venue" : ", no order of which leaves for a venue";
    return `This run: mode=${run.mode}${account === null ? "" : `, account ${account}${how}`}.`;
  }

  async #settingFields(fields, setting) {
    let known;
    try {
      known = (await get("/settings")).hot;
    } catch (error) {
      this.#refused("settings", "Change a setting", error.message, error.todo);
      return null;
    }
    const choice = h("select", { name: "setting" }, ...known.map((one) => h("option", { value: one.name, text: one.name })));
    if (setting) choice.value = setting;
    fields.push(h("label", {}, "Setting", choice));
    const value = field(fields, "Value", "text", { name: "value", required: true });
    const fill = () => (value.value = JSON.stringify(known.find((one) => one.name === choice.value)?.value ?? null));
    choice.addEventListener("change", fill);
    fill();
    return { changes: () => ({ [choice.value]: parsed(choice.value, value.value) }) };
  }

  #refused(name, label, why, todo = "") {
    const lines = [`${why[0].toUpperCase()}${why.slice(1)}.`, todo];
    const hasWrongRole = Boolean(token.get()) && this.state.run.actions?.includes(name) && !this.state.isOver;
    if (!hasWrongRole) return dialog({ title: `${label} can't be done`, lines, fields: [] });
    return dialog({ title: `${label} can't be done`, lines, fields: [], extra: ["Use another token", () => this.signIn()] });
  }

  /** Take a token, or forget the one that is held. */
  signIn(message = "") {
    const held = Boolean(token.get());
    const { name, role } = this.who;
    const lines = [
      message,
      held
        ? `This tab holds the token of ${name}${role ? `, who is ${role}` : ""}.`
        : "Without a token you may look, if the server lets you; actions need one.",
      "A token is made on the server's machine: python -m schwabot.server.tokens add NAME --role operator. It stays in this tab until that is closed.",
    ];
    return dialog({
      title: held ? "Your token" : "Sign in",
      lines,
      fields: [],
      asks: true,
      act: "Use this token",
      kind: "main",
      extra: held ? ["Forget it", () => (token.set(""), this.signed())] : null,
      submit: async (own) => {
        await get("/status", own);
        return "";
      },
      signed: () => this.signed(),
    });
  }
}

/** What was typed, as JSON where it is JSON, else as text. */
function parsed(name, text) {
  let tooLarge = false; // 1e400 is read as infinity, which would be sent as null
  let value = text;
  try {
    value = JSON.parse(text, (_, one) => ((tooLarge ||= one === Infinity || one === -Infinity), one));
  } catch {
    // text
  }
  if (tooLarge) throw new Error(`${name}: a number is too large: 1.8e308 is the largest. Nothing was sent`);
  return value;
}

function field(fields, label, type, attributes) {
  const input = h("input", { type, autocomplete: "off", spellcheck: "false", ...attributes });
  fields.push(h("label", {}, label, input));
  return input;
}

/**
 * Ask, do, show what came of it.
 * @param {Object} given - title, lines, fields, act (the button), kind, submit(token) → what to say, asks (for a token
 *   even if one is held), signed (a new token was taken), extra ([label, act], one more button)
 */
function dialog(given) {
  const fields = [...given.fields];
  const asks = given.submit && (given.asks || !token.get());
  const own = asks ? field(fields, "Token", "password", { name: "token", required: true, placeholder: "sw_…" }) : null;
  const said = h("p", { class: "said", role: "status", hidden: true });
  const submit = given.submit ? h("button", { type: "submit", class: given.kind, text: given.act }) : null;
  const close = h("button", { type: "button", text: given.submit ? "Cancel" : "Close", on: { click: () => node.close() } });
  const extra = given.extra
    ? h("button", { type: "button", text: given.extra[0], on: { click: () => (node.close(), given.extra[1]()) } })
    : null;
  const lines = given.lines.filter(Boolean).map((line) => h("p", { class: "what", text: line }));
  const form = h("form", {}, h("h2", { id: "dialog-title", text: given.title }), ...lines, ...fields, said,
    h("div", { class: "buttons" }, extra, close, submit)); // prettier-ignore
  const node = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  const tell = (text, kind) => {
    said.textContent = text;
    said.dataset.kind = kind;
    said.hidden = false;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    tell("asking …", "info");
    try {
      const answer = await given.submit(own ? own.value.trim() : undefined);
      if (own) {
        token.set(own.value.trim());
        own.value = "";
        given.signed();
      }
      if (!answer) return node.close();
      tell(answer, "good");
      submit.hidden = true;
      for (const label of form.querySelectorAll("label")) label.hidden = true;
      close.textContent = "Close";
      close.focus();
    } catch (error) {
      const todo = error.todo ? `\n${error.todo[0].toUpperCase()}${error.todo.slice(1)}.` : "";
      tell(`${error.message}${todo}`, "bad");
      submit.disabled = false;
      if (own && error.status === 401) own.select();
    }
    return undefined;
  });
  node.addEventListener("close", () => node.remove());
  document.body.append(node);
  node.showModal();
  const first = form.querySelector("input, select");
  if (given.focus === "submit" && !own) submit.focus();
  else (own && given.focus === "submit" ? own : first ?? close).focus();
  return node;
}
