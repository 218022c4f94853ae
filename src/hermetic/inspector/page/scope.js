// One scope: where its time went, its statements, and where its owner is.

import { byId, make, mark, say } from "./dom.js";
import { get } from "./feed.js";
import { clock, count, oneLine, plural, seconds, OUTCOMES, PHASES } from "./words.js";

export class Detail {
  constructor(place, closed) {
    this.place = place;
    this.closed = closed;
    this.shown = null;
    this.from = null;
    this.head = null;
    place.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  // process, database and number of a scope
  async show(named, quietly = false) {
    const again = this.shown !== null && quietly;
    if (!again) {
      this.from = document.activeElement;
      this.shown = named;
      this.told = null;
    }
    try {
      const scope = await get("api/scope", named);
      if (this.shown !== named) return;
      this.draw(scope);
    } catch (error) {
      if (this.shown !== named) return;
      if (error.status === 404) {
        // what was shown of it stays
        if (this.told === null) this.missing(named);
        else this.gone();
      } else if (!again) {
        this.missing(named, error.message);
      }
    }
    if (!again) byId("detail-title")?.focus();
  }

  refresh() {
    if (this.shown !== null && (this.told === null || this.told.live)) this.show(this.shown, true);
  }

  close() {
    if (this.shown === null) return;
    this.shown = null;
    this.place.hidden = true;
    this.drawn = null;
    document.body.classList.remove("with-detail");
    this.closed();
    (this.from?.isConnected ? this.from : byId("main")).focus();
  }

  // The head stays while what is below it is drawn anew: whoever is at it is not disturbed.
  open(title, fate, ...children) {
    if (this.head === null || this.place.hidden) {
      this.title = make("h2", { id: "detail-title", tabindex: -1 });
      this.fate = make("span", { class: "chip fate" });
      const close = make("button", { type: "button", class: "close", "aria-label": "Close the scope", onclick: () => this.close() }, "✕");
      this.head = make("div", { class: "detail-head" }, this.title, this.fate, close);
      this.below = make("div");
      this.place.replaceChildren(this.head, this.below);
    }
    say(this.title, title);
    this.fate.hidden = fate === null;
    if (fate !== null) {
      say(this.fate, fate.words);
      mark(this.fate, "data-chip", fate.chip);
    }
    this.below.replaceChildren(...children.filter((child) => child !== null));
    this.place.hidden = false;
    document.body.classList.add("with-detail");
  }

  missing(named, why = "Nobody knows it any more: the last scopes, the slow and the failed ones are kept.") {
    this.open(`Scope #${named.number}`, null, make("p", { class: "note" }, why));
  }

  gone() {
    say(this.fate, "has ended, and nobody keeps it");
    this.told.live = null;
  }

  draw(scope) {
    const text = JSON.stringify(scope);
    if (this.drawn === text && !this.place.hidden) return;
    this.drawn = text;
    this.told = scope;
    this.open(
      `${scope.name} #${scope.number}`,
      fate(scope),
      facts(scope),
      timeline(scope),
      statements(scope),
      stack(scope),
    );
  }
}

function fate(scope) {
  if (scope.live) return { words: PHASES[scope.live.phase], chip: scope.live.phase };
  return { words: scope.outcome === null ? "ended" : OUTCOMES[scope.outcome], chip: scope.outcome ?? "open" };
}

function facts(scope) {
  const live = scope.live;
  const shown = [
    ["Opened at", make("code", {}, scope.opened_at)],
    ["Owner", scope.owner],
    ["Database", scope.database],
    ["Server", scope.server],
    ["Tenant", scope.tenant],
    ["Error", scope.error],
    ["Ended", scope.ended_at === null ? null : clock(scope.ended_at)],
    ["Attempt", scope.attempt > 1 ? String(scope.attempt) : null],
    ["Kind", `${scope.propagation}${scope.readonly ? ", read-only" : ""}${live?.root ? `, joined #${live.root}` : ""}`],
    ["Connection", live?.connection ? `#${live.connection}` : null],
    ["Deadline", live?.left === null || live?.left === undefined ? null : `in ${seconds(live.left)}`],
    ["Round trips", scope.round_trips === null ? null : count(scope.round_trips)],
    ["Rows", scope.watched ? count(scope.rows) : null],
    ["Cache", live?.cache_hits ? `answered ${plural(live.cache_hits, "read")}` : null],
  ];
  const list = make("dl", { class: "facts" });
  for (const [name, value] of shown) {
    if (value !== null && value !== undefined) list.append(make("dt", {}, name), make("dd", {}, value));
  }
  return list;
}

// what it did in its life, as stretches
export function stretchesOf(scope) {
  const total = scope.seconds;
  const found = [];
  const first = scope.steps[0]?.at ?? null;
  const waits = scope.live?.phase === "waiting";
  const waitEnd = waits || first === null ? (waits ? total : scope.waited) : first;
  if (scope.waited > 0) found.push({ kind: "waiting", from: Math.max(0, waitEnd - scope.waited), to: waitEnd });
  for (const step of scope.steps) {
    const open = scope.live?.phase === "statement" && step === scope.steps.at(-1);
    const to = step.seconds === null ? (open ? total : step.at) : step.at + step.seconds;
    found.push({ kind: step.seconds === null && !open ? "failed" : "statement", from: step.at, to, step });
  }
  if (scope.leaving > 0) found.push({ kind: "leaving", from: Math.max(0, total - scope.leaving), to: total });
  return found;
}

function timeline(scope) {
  const total = scope.seconds || 1e-9;
  const own = Math.max(0, scope.seconds - scope.waited - scope.working - scope.leaving);
  const parts = [
    ["waiting", "waited for a connection", scope.waited],
    ["statement", `at ${plural(scope.statements, "statement")}`, scope.working],
    ["own", "the program's own time", own],
    ["leaving", "flush, COMMIT, giving back", scope.leaving],
  ];
  const words = parts.filter(([, , value]) => value > 0).map(([, name, value]) => `${name}: ${seconds(value)}`);
  const bar = make("div", { class: "bar", role: "img", "aria-label": `${seconds(scope.seconds)} in all; ${words.join("; ")}` });
  for (const { kind, from, to } of stretchesOf(scope)) {
    const piece = make("span", { class: "piece", "data-kind": kind });
    piece.style.left = `${(100 * from) / total}%`;
    piece.style.width = `${(100 * Math.max(0, to - from)) / total}%`;
    bar.append(piece);
  }
  const axis = make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, "0"), make("span", {}, seconds(total / 2)), make("span", {}, seconds(total)));
  const list = make("ul", { class: "legend" });
  for (const [kind, name, value] of parts) {
    list.append(make("li", {}, make("span", { class: "swatch", "data-kind": kind, "aria-hidden": "true" }), `${name} ${seconds(value)}`));
  }
  const title = scope.live ? "Its time so far" : "Its time";
  return make("section", { class: "time" }, make("h3", {}, `${title}: ${seconds(scope.seconds)}`), bar, axis, list);
}

function statements(scope) {
  const section = make("section", {}, make("h3", {}, plural(scope.statements, "statement")));
  if (!scope.watched) {
    section.append(make("p", { class: "note" }, "Nobody watches this Database, so its statements are not kept: make it with watch=True."));
    return section;
  }
  const total = scope.seconds || 1e-9;
  const list = make("ol", { class: "steps" });
  for (const step of scope.steps) {
    const line = make("span", { class: "piece", "data-kind": step.seconds === null ? "failed" : "statement" });
    line.style.left = `${(100 * step.at) / total}%`;
    line.style.width = `${(100 * (step.seconds ?? 0)) / total}%`;
    const open = step.seconds === null && scope.live?.phase === "statement" && step === scope.steps.at(-1);
    const took = step.seconds === null ? (open ? "under way" : "failed") : seconds(step.seconds);
    list.append(
      make(
        "li",
        {},
        make("div", { class: "step-head" }, make("span", {}, `+${seconds(step.at)}`), make("span", { class: "small-bar", "aria-hidden": "true" }, line), make("span", { class: step.seconds === null && !open ? "wrong" : null }, took)),
        make("code", {}, oneLine(step.statement)),
        step.rows === null ? null : make("span", { class: "quiet" }, ` ${plural(step.rows, "row")}`),
      ),
    );
  }
  section.append(list);
  if (scope.statements > scope.steps.length) {
    section.append(make("p", { class: "quiet" }, `and ${count(scope.statements - scope.steps.length)} more, which were only counted`));
  }
  return section;
}

function stack(scope) {
  if (!scope.stack.length) return null;
  const list = make("ol", { class: "stack" });
  for (const line of [...scope.stack].reverse()) list.append(make("li", {}, make("code", {}, line)));
  return make("section", {}, make("h3", {}, "Where its owner is now, innermost first"), list);
}
