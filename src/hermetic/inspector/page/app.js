// The page: what the feed brings is put into the views, and the address says which one is seen.

import { makeCharts } from "./charts.js";
import { byId, keep, make, mark, say } from "./dom.js";
import { act, Feed } from "./feed.js";
import { Findings } from "./findings.js";
import { Grid } from "./grid.js";
import { addressOf, byName, chosen, databasesOf, endedOf, listsOf, stretches } from "./model.js";
import { legend, Pools } from "./pools.js";
import { Detail } from "./scope.js";
import { clock, count, oneLine, plural, rate, seconds, shortPlace, OUTCOMES, PHASES } from "./words.js";

const VIEWS = ["live", "history", "findings", "servers"];
const state = { live: null, history: {}, which: "", known: null, now: 0, counted: null, rate: null };

// ---------------------------------------------------------------- tables

function go(scope) {
  location.hash = addressOf(scope.process, scope.database, scope.number);
}

const whose = { id: "whose", title: "Database", text: (row) => row.whose, width: "minmax(5rem, 0.7fr)" };
const named = {
  id: "name",
  title: "Scope",
  text: (row) => `${row.name} #${row.number}`,
  hint: (row) => row.opened_at,
  width: "minmax(9rem, 1.3fr)",
};
const opened = {
  id: "opened",
  title: "Opened at",
  text: (row) => shortPlace(row.opened_at),
  hint: (row) => row.opened_at,
  width: "minmax(9rem, 1.5fr)",
};
const owner = { id: "owner", title: "Owner", text: (row) => row.owner, hint: (row) => row.owner, width: "minmax(7rem, 1fr)" };

function figure(id, title, width, value, words) {
  return { id, title, width, value, text: (row) => words(value(row)), number: true };
}

// of what nobody counts there is no figure
const known = (value) => (value === null ? "–" : count(value));

const scopes = new Grid(byId("scopes"), {
  label: "Open scopes",
  sort: "age",
  descending: true,
  open: go,
  empty: "No scope is open.",
  columns: [
    named,
    { id: "phase", title: "Phase", text: (row) => PHASES[row.phase], chip: (row) => row.phase, width: "6.5rem" },
    figure("age", "Age", "5.5rem", (row) => row.age, seconds),
    figure("waited", "Waited", "5.5rem", (row) => row.waited, seconds),
    figure("statements", "Sent", "3.5rem", (row) => row.statements, count),
    figure("rows", "Rows", "4rem", (row) => row.rows, known),
    figure("round_trips", "Trips", "3.5rem", (row) => row.round_trips, known),
    owner,
    { id: "last", title: "Last statement", text: (row) => oneLine(row.last_statement), hint: (row) => row.last_statement, width: "minmax(10rem, 2fr)" },
    whose,
  ],
});

const ended = new Grid(byId("ended"), {
  label: "Ended scopes",
  sort: "at",
  descending: true,
  open: go,
  empty: "None is kept.",
  columns: [
    named,
    { id: "outcome", title: "Outcome", text: (row) => (row.outcome ? OUTCOMES[row.outcome] : "–"), chip: (row) => row.outcome ?? "open", width: "8.5rem" },
    { id: "error", title: "Error", text: (row) => row.error ?? "", hint: (row) => row.error, width: "minmax(7rem, 1fr)" },
    figure("seconds", "Took", "5.5rem", (row) => row.seconds, seconds),
    figure("waited", "Waited", "5.5rem", (row) => row.waited, seconds),
    figure("statements", "Sent", "3.5rem", (row) => row.statements, count),
    figure("rows", "Rows", "4rem", (row) => row.rows, known),
    figure("round_trips", "Trips", "3.5rem", (row) => row.round_trips, known),
    figure("attempt", "Attempt", "5rem", (row) => row.attempt, count),
    figure("at", "Ended", "6rem", (row) => row.ended_at, clock),
    opened,
    whose,
  ],
});

const names = new Grid(byId("names"), {
  label: "Scopes by name",
  sort: "seconds",
  descending: true,
  empty: "No scope has ended in the last hour.",
  rows: 10,
  columns: [
    { id: "name", title: "Name", text: (row) => row.name, hint: (row) => row.name, width: "minmax(9rem, 2fr)" },
    figure("count", "Scopes", "5.5rem", (row) => row.count, count),
    figure("p50", "Half of them", "6.5rem", (row) => row.p50, seconds),
    figure("p95", "95 %", "5.5rem", (row) => row.p95, seconds),
    figure("p99", "99 %", "5.5rem", (row) => row.p99, seconds),
    figure("longest", "Longest", "6rem", (row) => row.longest, seconds),
    figure("seconds", "Together", "6.5rem", (row) => row.seconds, seconds),
    figure("statements", "Sent each", "5.5rem", (row) => (row.count ? row.statements / row.count : 0), rate),
    figure("rows", "Rows each", "5.5rem", (row) => (row.count ? row.rows / row.count : 0), rate),
    figure("round_trips", "Trips each", "5.5rem", (row) => (row.count ? row.round_trips / row.count : 0), rate),
    figure("failed", "Errors", "5rem", (row) => row.failed, count),
    figure("retried", "Retries", "5rem", (row) => row.retried, count),
    figure("unknown", "Unknown", "5.5rem", (row) => row.unknown, count),
    whose,
  ],
});

const connections = new Grid(byId("connections"), {
  label: "Connections",
  sort: "number",
  empty: "Nothing is connected.",
  columns: [
    figure("number", "#", "4rem", (row) => row.number, String),
    { id: "state", title: "State", text: (row) => row.state, chip: (row) => ({ idle: "open", lent: "statement" })[row.state] ?? "idle", width: "8rem" },
    { id: "role", title: "Role", text: (row) => row.role, width: "5rem" },
    { id: "world", title: "World", text: (row) => row.world, width: "5rem" },
    figure("age", "Age", "6rem", (row) => row.age, seconds),
    figure("idle", "Idle for", "6rem", (row) => row.idle ?? -1, (value) => (value < 0 ? "–" : seconds(value))),
    figure("in_transaction_for", "In transaction", "7.5rem", (row) => row.in_transaction_for ?? -1, (value) => (value < 0 ? "–" : seconds(value))),
    { id: "holder", title: "Held by", text: (row) => `${row.holder ?? ""}${row.scope ? `, scope #${row.scope}` : ""}`, width: "minmax(8rem, 1.2fr)" },
    { id: "last", title: "Last statement", text: (row) => oneLine(row.last_statement), hint: (row) => row.last_statement, width: "minmax(10rem, 2fr)" },
    { id: "server", title: "Server", text: (row) => row.server, hint: (row) => row.server, width: "minmax(8rem, 1fr)" },
  ],
});

const loose = new Grid(byId("loose"), {
  label: "Sessions outside any scope",
  sort: "age",
  descending: true,
  empty: "There are none.",
  rows: 6,
  columns: [
    { id: "session", title: "Session", text: (row) => row.session, width: "minmax(9rem, 1fr)" },
    figure("age", "Age", "6rem", (row) => row.age, seconds),
    owner,
    opened,
  ],
});

const pools = new Pools(byId("pools"));
const findings = new Findings(byId("finding-list"));
const charts = makeCharts(byId("charts"));
const detail = new Detail(byId("detail"), () => {
  if (location.hash.startsWith("#scope/")) location.hash = `#${state.view}`;
});
legend(byId("legend"));
for (const [phase, text] of Object.entries(PHASES)) byId("phase").append(make("option", { value: phase }, text));

// ---------------------------------------------------------------- what the feed brings

function showLive(told) {
  const began = performance.now();
  state.live = told;
  const states = Object.values(told.states);
  state.now = Math.max(0, ...states.map((each) => each.at));
  tally(told);
  render();
  // how long an update takes: what is measured is asked for here
  window.hermeticUpdate = { seconds: (performance.now() - began) / 1000, scopes: scopes.rows.length };
  detail.refresh();
}

function render() {
  const databases = databasesOf(state.live.states);
  choices(databases);
  const mine = chosen(databases, state.which);
  const lists = listsOf(mine);
  state.lists = lists;
  process();
  tiles(mine, lists);
  if (state.view === "live") showOpen(lists);
  if (state.view === "servers") showServers(mine, lists);
  findings.update(lists.findings, state.now);
  news(lists.findings);
}

function showOpen(lists) {
  pools.update(lists.pools, lists.scopes);
  const wanted = byId("filter").value.trim().toLowerCase();
  const phase = byId("phase").value;
  const shown = lists.scopes.filter(
    (row) =>
      (!phase || row.phase === phase) &&
      (!wanted || `${row.name} #${row.number} ${row.owner} ${row.opened_at} ${row.last_statement ?? ""}`.toLowerCase().includes(wanted)),
  );
  scopes.update(shown);
  const all = lists.scopes.length;
  say(byId("scope-count"), shown.length === all ? count(all) : `${count(shown.length)} of ${count(all)}`);
  byId("loose-panel").hidden = lists.sessions.length === 0;
  for (const each of lists.sessions) each.key = `${each.session} ${each.opened_at} ${each.owner}`;
  loose.update(lists.sessions);
}

function showServers(mine, lists) {
  for (const each of lists.connections) each.key = `${each.process}/${each.number}`;
  connections.update(lists.connections);
  say(byId("connection-count"), count(lists.connections.length));
  keep(byId("databases"), mine, (each) => each.key, newDatabase, changeDatabase);
}

function showHistory(told) {
  state.history = told;
  if (state.live) renderHistory();
}

function renderHistory() {
  const mine = chosen(databasesOf(state.live.states), state.which);
  const histories = mine
    .map((each) => ({ ...each, database: each.database.id, history: state.history[each.process]?.[each.database.id] }))
    .filter((each) => each.history);
  byId("unwatched").hidden = histories.length > 0 || mine.length === 0;
  byId("charts").hidden = histories.length === 0;
  const timelines = histories.map((each) => each.history.timeline);
  for (const chart of charts) chart.update(stretches(timelines, state.now, chart.width));
  names.update(byName(histories));
  ended.update(endedOf(histories, byId("kept").value));
  state.worst = stretches(timelines, state.now, 60).slice(-2);
}

// ---------------------------------------------------------------- at a glance

function tally(told) {
  let sum = 0;
  for (const each of Object.values(told.states)) {
    for (const { counters } of each.databases) sum += counters.committed + counters.not_committed + counters.unknown;
  }
  const before = state.counted;
  if (before === null || state.now > before.at) {
    if (before !== null && sum >= before.sum) state.rate = (sum - before.sum) / (state.now - before.at);
    state.counted = { sum, at: state.now };
  }
}

function tiles(mine, lists) {
  const sum = (name) => lists.pools.reduce((all, pool) => all + pool[name], 0);
  const counters = (name) => mine.reduce((all, each) => all + each.database.counters[name], 0);
  const latest = (state.worst ?? []).filter((each) => each.count);
  const p95 = latest.length ? Math.max(...latest.map((each) => each.p95)) : null;
  const shown = [
    ["scopes open", count(lists.scopes.length), null],
    ["connections lent", `${count(sum("lent"))} of ${count(sum("limit"))}`, null],
    ["waiting for one", count(sum("waiting")), sum("waiting") ? "warn" : null],
    ["per second", state.rate === null ? "–" : rate(state.rate), null],
    ["95 %, last 2 min", seconds(p95), null],
    ["retries", count(counters("retries")), null],
    ["unknown", count(counters("unknown")), counters("unknown") ? "bad" : null],
    ["findings", count(lists.findings.length), lists.findings.length ? "warn" : null],
  ];
  keep(
    byId("tiles"),
    shown,
    ([name]) => name,
    ([name]) => {
      const value = make("dd");
      const node = make("div", { class: "tile" }, make("dt", {}, name), value);
      node.value = value;
      return node;
    },
    (node, [, value, tone]) => {
      say(node.value, value);
      mark(node, "data-tone", tone);
    },
  );
}

function process() {
  const all = Object.values(state.live.states).map((each) => each.process);
  const one = all[0];
  const words = !one
    ? "no process of this user has a watched Database with a first scope behind it"
    : all.length > 1
      ? plural(all.length, "process", "processes")
      : `${one.program}, process ${one.pid} on ${one.host}, hermetic ${one.hermetic}`;
  const problems = state.live.problems ?? [];
  say(byId("process"), [words, ...problems].join("; "));
}

function choices(databases) {
  const select = byId("which");
  const told = databases.map((each) => each.title).join("\n");
  if (select.told === told) return;
  select.told = told;
  select.replaceChildren(
    make("option", { value: "" }, "everything"),
    ...databases.map((each) => make("option", { value: each.key }, each.title)),
  );
  select.value = databases.some((each) => each.key === state.which) ? state.which : "";
  state.which = select.value;
}

function news(found) {
  const badge = byId("found");
  badge.hidden = found.length === 0;
  say(badge, count(found.length));
  const ids = new Set(found.map((each) => `${each.process} ${each.database} ${each.id}`));
  if (state.known !== null) {
    const fresh = found.filter((each) => !state.known.has(`${each.process} ${each.database} ${each.id}`));
    if (fresh.length) announce(`${plural(fresh.length, "new finding")}: ${fresh.map((each) => each.code).join(", ")}`);
  }
  state.known = new Set([...(state.known ?? []), ...ids]);
}

function announce(text) {
  byId("said").textContent = text;
}

// ---------------------------------------------------------------- databases

function newDatabase(each) {
  const list = make("dl", { class: "facts" });
  const servers = make("div");
  const doings = make("div", { class: "doings" });
  for (const action of state.live.actions) {
    const title = { evict: "Replace its connections", suspend: "Suspend lending", resume: "Lend again" }[action];
    if (each.database.kind === "database") {
      doings.append(make("button", { type: "button", onclick: () => perform(each, action, title) }, title));
    }
  }
  const node = make("section", { class: "panel" }, make("div", { class: "panel-head" }, make("h2", {}, each.title), doings), list, servers);
  node.parts = { list, servers };
  return node;
}

async function perform(each, action, title) {
  if (!window.confirm(`${title} of ${each.title}?`)) return;
  try {
    await act({ process: each.process, database: each.database.id, action });
    announce(`${title}: done`);
  } catch (error) {
    announce(`${title}: ${error.message}`);
  }
}

function changeDatabase(node, { database }) {
  const { counters } = database;
  const cache = Object.entries(database.cache).map(([name, value]) => `${name.replaceAll("_", " ")} ${count(value)}`);
  const shown = [
    ["URL", database.url],
    ["State", `${database.state}${database.watched ? ", watched" : ", not watched"}`],
    ["Members", database.members.join(", ") || null],
    ["Scopes", `${count(counters.scopes)} opened, ${count(counters.committed)} committed, ${count(counters.not_committed)} not, ${count(counters.unknown)} unknown`],
    ["Connections destroyed", count(counters.destroyed)],
    ["Cache", cache.join(", ") || null],
  ].filter(([, value]) => value !== null);
  keep(
    node.parts.list,
    shown.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]),
    ([kind, name]) => kind + name,
    ([kind]) => make(kind),
    (part, [, , text]) => say(part, text),
  );
  keep(node.parts.servers, database.servers, (each) => each.name, newServer, changeServer);
}

function newServer(each) {
  const chip = make("span", { class: "chip" });
  const words = make("span", { class: "quiet" });
  const node = make("p", { class: "server" }, make("strong", {}, each.name), " ", chip, " ", words);
  node.parts = { chip, words };
  return node;
}

function changeServer(node, each) {
  say(node.parts.chip, `${each.role}: ${each.state}`);
  mark(node.parts.chip, "data-chip", { up: "leaving", lagging: "waiting", ejected: "NOT_COMMITTED" }[each.state] ?? "open");
  const lag = each.lag === null ? "" : `, ${seconds(each.lag)} behind`;
  const wrong = each.error ? `, ${each.error}` : "";
  say(node.parts.words, `${plural(each.scopes, "scope")}${lag}${wrong}`);
}

// ---------------------------------------------------------------- which view

function select(view, focus = false) {
  state.view = view;
  for (const each of VIEWS) {
    const tab = byId(`tab-${each}`);
    mark(tab, "aria-selected", String(each === view));
    mark(tab, "tabindex", each === view ? 0 : -1);
    byId(`view-${each}`).hidden = each !== view;
    if (focus && each === view) tab.focus();
  }
  if (state.live) {
    render();
    renderHistory();
  }
}

function follow() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  if (view === "scope" && rest.length === 3) {
    const [process, database, number] = rest.map(decoded);
    detail.show({ process, database, number });
    return;
  }
  detail.close();
  if (VIEWS.includes(view) && view !== state.view) select(view);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

for (const view of VIEWS) {
  const tab = byId(`tab-${view}`);
  tab.addEventListener("click", () => {
    location.hash = `#${view}`;
    select(view);
  });
  tab.addEventListener("keydown", (event) => {
    const index = VIEWS.indexOf(view);
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = VIEWS[(to + VIEWS.length) % VIEWS.length];
    location.hash = `#${next}`;
    select(next, true);
  });
}

// ---------------------------------------------------------------- controls

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  mark(document.documentElement, "data-theme", name === "auto" ? null : name);
  say(byId("theme"), `Theme: ${name}`);
  state.theme = name;
  try {
    localStorage.setItem("hermetic-theme", name);
  } catch {
    // it is not remembered then
  }
}

function remembered() {
  try {
    return localStorage.getItem("hermetic-theme");
  } catch {
    return null;
  }
}

byId("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length]));
theme(THEMES.includes(remembered()) ? remembered() : "auto");

const feed = new Feed({
  live: showLive,
  history: showHistory,
  link(what) {
    if (feed.paused) return;
    const node = byId("link");
    if (node.dataset.state !== what && what === "lost") announce("The process does not answer.");
    node.dataset.state = what;
    say(node, what === "live" ? "live" : "does not answer");
  },
});

byId("pause").addEventListener("click", () => {
  const paused = !feed.paused;
  mark(byId("pause"), "aria-pressed", String(paused));
  say(byId("pause"), paused ? "Go on" : "Pause");
  byId("link").dataset.state = paused ? "wait" : "live";
  say(byId("link"), paused ? "paused" : "live");
  feed.pause(paused);
});
byId("which").addEventListener("change", () => {
  state.which = byId("which").value;
  select(state.view);
});
for (const id of ["filter", "phase"]) byId(id).addEventListener("input", () => state.lists && showOpen(state.lists));
byId("kept").addEventListener("input", () => state.live && renderHistory());
window.addEventListener("hashchange", follow);

// what is measured from outside: an update with a state that was brought by hand
window.hermeticShow = showLive;
select(VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live");
feed.start();
follow();
