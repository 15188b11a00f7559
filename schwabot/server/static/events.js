// The live stream: server-sent events over fetch(), because an EventSource can't send a token.
// After a break it comes back by itself; the server begins every stream with a snapshot.

import { headers, problem } from "./api.js";

const FIRST_MS = 500;
const MOST_MS = 8000;
const SILENT_MS = 15_000; // the server says something every 5 s

export class Events {
  /**
   * @param {(event: string, data: object) => void} take - told each event
   * @param {(state: string, detail: object) => void} tell - told how the line is: connecting, open, waiting, refused
   */
  constructor(take, tell) {
    Object.assign(this, { take, tell });
    this.wait = FIRST_MS;
    this.run = 0;
  }

  /** Begin, or begin again at once, e.g. with another token. */
  start() {
    this.run += 1;
    this.abort?.abort();
    this.wake?.();
    this.#loop(this.run);
  }

  async #loop(run) {
    while (run === this.run) {
      this.tell("connecting", {});
      let refused = null;
      try {
        refused = await this.#read(run);
      } catch {
        // the line broke: come back
      }
      if (run !== this.run) return;
      if (refused?.status === 401 || refused?.status === 403) {
        this.tell("refused", refused);
        return;
      }
      const pause = this.wait * (0.8 + 0.4 * Math.random());
      this.wait = Math.min(this.wait * 2, MOST_MS);
      this.tell("waiting", { ms: pause, why: refused?.message ?? "" });
      await new Promise((done) => {
        this.wake = done;
        setTimeout(done, pause);
      });
    }
  }

  async #read(run) {
    const abort = (this.abort = new AbortController());
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENT_MS);
    };
    heard();
    try {
      const init = { headers: headers(), signal: abort.signal, cache: "no-store" };
      const response = await fetch("/api/v1/events", init);
      if (!response.ok) return await problem(response);
      const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let left = "";
      for (;;) {
        const { done, value } = await lines.read();
        if (done || run !== this.run) return null;
        heard();
        left = this.#messages(left + value);
      }
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
  }

  /** Tell what is whole, and give back the rest. */
  #messages(text) {
    const parts = text.split("\n\n");
    const rest = parts.pop();
    for (const part of parts) {
      let event = "message";
      let data = "";
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) event = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (!data) continue;
      this.wait = FIRST_MS;
      this.tell("open", {});
      this.take(event, JSON.parse(data));
    }
    return rest;
  }
}
