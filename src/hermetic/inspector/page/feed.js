// Asks for states, once a second for what is open and every few seconds for what has ended.

const LIVE = 1000;
const HISTORY = 5000;
const LONGEST_PAUSE = 8000;

export class Feed {
  constructor(listeners) {
    this.listeners = listeners;
    this.paused = false;
    this.failures = 0;
    this.timers = {};
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.start();
    });
  }

  start() {
    for (const what of ["live", "history"]) this.ask(what);
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.start();
  }

  // one question of a kind is under way at a time
  async ask(what) {
    clearTimeout(this.timers[what]);
    if (this[what] || this.paused || document.hidden) return;
    this[what] = true;
    const began = performance.now();
    try {
      const told = await get(`api/${what}`);
      this.failures = 0;
      if (!this.paused) this.listeners[what](told);
      this.listeners.link("live");
    } catch (error) {
      this.failures += 1;
      this.listeners.link("lost");
      if (!(error instanceof TypeError) && !(error instanceof Refused)) console.error(error);
    } finally {
      this[what] = false;
    }
    // a slow server is asked less often
    const every = what === "live" ? LIVE : HISTORY;
    const pause = Math.min(LONGEST_PAUSE, every * 2 ** Math.min(3, this.failures));
    const took = performance.now() - began;
    this.timers[what] = setTimeout(() => this.ask(what), Math.max(pause - took, took, 50));
  }
}

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function get(path, query = {}) {
  const asked = Object.keys(query).length ? `${path}?${new URLSearchParams(query)}` : path;
  return read(await fetch(asked, { cache: "no-store", credentials: "same-origin" }));
}

export async function act(query) {
  const asked = `api/act?${new URLSearchParams(query)}`;
  const answer = await fetch(asked, {
    method: "POST",
    credentials: "same-origin",
    headers: { "X-Hermetic": "act" },
  });
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
}

async function read(answer) {
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).trim());
  return answer.json();
}
