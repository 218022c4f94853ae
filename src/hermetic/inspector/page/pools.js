// Pools as pictures: a square for each place, filled with what its holder is at, and who waits.

import { keep, make, mark, say } from "./dom.js";
import { addressOf } from "./model.js";
import { count, plural, seconds, PHASES } from "./words.js";

const MOST_PLACES = 200;
const MOST_WAITING = 60;

export function legend(place) {
  const shown = [
    ["statement", PHASES.statement],
    ["idle", "idle in its transaction"],
    ["leaving", "leaving: flush, COMMIT"],
    ["open", "lent, not in use by a scope"],
    ["free", "free"],
    ["waiting", "waiting in line"],
  ];
  for (const [phase, text] of shown) {
    place.append(make("li", {}, make("span", { class: "place", "data-phase": phase, "aria-hidden": "true" }), text));
  }
}

export class Pools {
  constructor(place) {
    this.place = place;
    this.none = make("p", { class: "empty" }, "No pool has been used yet.");
    this.list = make("ul", { class: "pools" });
    place.append(this.list, this.none);
  }

  update(pools, scopes) {
    const phases = new Map(scopes.map((scope) => [scope.key, scope]));
    this.none.hidden = pools.length > 0;
    keep(this.list, pools, (pool) => `${pool.process} ${pool.id}`, () => newPool(), (node, pool) => {
      node.parts.update(pool, phases);
    });
  }
}

function newPool() {
  const title = make("h3");
  const words = make("p", { class: "quiet" });
  const places = make("div", { class: "places", role: "group" });
  const line = make("div", { class: "places queue", role: "group" });
  const node = make("li", { class: "pool" }, make("div", { class: "pool-head" }, title, words), places, line);
  for (const group of [places, line]) group.addEventListener("keydown", move);
  node.parts = {
    update(pool, phases) {
      say(title, pool.whose.endsWith(pool.name) ? pool.name : `${pool.name}`);
      const held = `${count(pool.lent)} of ${count(pool.limit)} lent`;
      const waits = pool.waiting ? `, ${count(pool.waiting)} waiting` : "";
      const off = pool.suspended ? ", suspended" : "";
      const mean = pool.waited ? `; ${plural(pool.waited, "scope")} waited ${seconds(pool.wait_seconds / pool.waited)} on average` : "";
      const gone = pool.refused ? `; ${count(pool.refused)} refused or too late` : "";
      say(words, `${held}${waits}${off}${mean}${gone}`);
      mark(node, "data-full", pool.lent >= pool.limit && pool.waiting > 0);
      fillPlaces(places, pool, phases);
      fillLine(line, pool, phases);
    },
  };
  return node;
}

function fillPlaces(places, pool, phases) {
  const holders = pool.holders.slice(0, MOST_PLACES);
  const free = Math.max(0, Math.min(pool.limit, MOST_PLACES) - holders.length);
  const items = holders.map((each, index) => ({ each, key: each.scope === null ? `x${index}` : each.scope }));
  for (let index = 0; index < free; index += 1) items.push({ each: null, key: `free${index}` });
  const more = pool.limit - items.length;
  mark(places, "aria-label", `${pool.name}: who has its connections`);
  if (more > 0) items.push({ each: null, key: "more", more });
  keep(places, items, (item) => item.key, newPlace, (node, item) => {
    changePlace(node, item, pool, phases, "holds a connection");
  });
  entry(places);
}

function fillLine(line, pool, phases) {
  const waiters = pool.waiters.slice(0, MOST_WAITING);
  const items = waiters.map((each, index) => ({ each, key: each.scope === null ? `x${index}` : each.scope, waits: true }));
  const more = pool.waiting - waiters.length;
  if (more > 0) items.push({ each: null, key: "more", more });
  line.hidden = items.length === 0;
  mark(line, "aria-label", `${pool.name}: who waits in line`);
  keep(line, items, (item) => item.key, newPlace, (node, item) => changePlace(node, item, pool, phases, "waits"));
  entry(line);
}

function newPlace(item) {
  if (item.more) return make("span", { class: "more" });
  if (item.each === null) return make("span", { class: "place", "data-phase": "free", "aria-hidden": "true" });
  if (item.each.scope === null) return make("span", { class: "place", role: "img" });
  return make("a", { class: "place", tabindex: -1 });
}

function changePlace(node, item, pool, phases, does) {
  if (item.more) {
    say(node, `+ ${count(item.more)}`);
    return;
  }
  const each = item.each;
  if (each === null) return;
  const scope = each.scope === null ? undefined : phases.get(`${pool.process}/${pool.database}/${each.scope}`);
  const phase = item.waits ? "waiting" : (scope?.phase ?? "open");
  mark(node, "data-phase", phase);
  const named = scope ? `${scope.name} #${scope.number}, ${each.owner}` : each.owner;
  const at = item.waits || !scope ? "" : `, ${PHASES[phase]}`;
  const words = `${named} ${does} for ${seconds(each.seconds)}${at}`;
  mark(node, "aria-label", words);
  mark(node, "title", words);
  if (each.scope !== null) mark(node, "href", addressOf(pool.process, pool.database, each.scope));
}

// of each group one place is reached by the tabulator, the others by arrows
function entry(group) {
  const links = [...group.querySelectorAll("a")];
  const now = links.includes(document.activeElement) ? document.activeElement : links[0];
  for (const link of links) mark(link, "tabindex", link === now ? 0 : -1);
}

function move(event) {
  const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (way === undefined) return;
  const links = [...event.currentTarget.querySelectorAll("a")];
  const next = links[links.indexOf(document.activeElement) + way];
  if (!next) return;
  event.preventDefault();
  next.focus();
  entry(event.currentTarget);
}
