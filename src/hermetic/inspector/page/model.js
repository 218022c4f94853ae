// States of several processes, as the lists that are shown.

export function databasesOf(states) {
  const several = Object.keys(states).length > 1;
  const found = [];
  for (const [process, state] of Object.entries(states)) {
    for (const database of state.databases) {
      const whose = several ? `${state.process.program} ${state.process.pid}: ` : "";
      found.push({ key: `${process}/${database.id}`, title: whose + database.id, process, database });
    }
  }
  return found;
}

export function chosen(databases, key) {
  const only = databases.filter((each) => each.key === key);
  return only.length ? only : databases;
}

// every list of some databases, each item with whose it is
export function listsOf(databases) {
  const lists = { scopes: [], pools: [], connections: [], sessions: [], servers: [], findings: [] };
  for (const { process, database, title } of databases) {
    for (const name of Object.keys(lists)) {
      for (const item of database[name]) {
        item.process = process;
        item.database = database.id;
        item.whose = title;
        lists[name].push(item);
      }
    }
  }
  for (const scope of lists.scopes) scope.key = keyOf(scope);
  // those that are there already keep their places while they are read
  lists.findings.sort((one, other) => other.first - one.first);
  return lists;
}

export function keyOf(scope) {
  return `${scope.process}/${scope.database}/${scope.number}`;
}

export function addressOf(process, database, number) {
  return `#scope/${[process, database, number].map((each) => encodeURIComponent(each)).join("/")}`;
}

const SUMS = ["count", "committed", "not_committed", "unknown", "failed", "retried", "statements", "rows", "round_trips", "seconds", "waited"];
const SHORTEST = 10;
const WORST = ["p50", "p95", "p99", "longest"];

function add(total, figures) {
  for (const name of SUMS) total[name] = (total[name] ?? 0) + figures[name];
  // percentiles of several cannot be had from those of each: the worst is never too low
  for (const name of WORST) total[name] = Math.max(total[name] ?? 0, figures[name]);
  return total;
}

// The last hour in stretches of so many seconds, those without scopes too. They begin where those of
// the process do; the shortest are told when they are over.
export function stretches(timelines, now, width) {
  const newest = Math.max(0, ...timelines.map((timeline) => timeline.at(-1)?.at ?? 0));
  const shift = newest % SHORTEST;
  const place = (at) => Math.floor((at - shift) / width + 0.001);
  const last = place(now) - (width === SHORTEST ? 1 : 0);
  const length = Math.round(3600 / width);
  const first = last - length + 1;
  const found = Array.from({ length }, (_, index) => ({ at: (first + index) * width + shift }));
  for (const timeline of timelines) {
    for (const point of timeline) {
      const index = place(point.at) - first;
      if (index >= 0 && index < length) add(found[index], point);
    }
  }
  return found;
}

export function byName(histories) {
  const found = new Map();
  for (const { history, process, database, title } of histories) {
    for (const each of history.names) {
      const key = `${process}/${database}/${each.name}`;
      found.set(key, { ...each, key, whose: title });
    }
  }
  return [...found.values()];
}

export function endedOf(histories, which) {
  const found = [];
  for (const { history, process, database, title } of histories) {
    for (const each of history[which]) {
      found.push({ ...each, process, database, whose: title, key: `${process}/${database}/${each.number}` });
    }
  }
  return found;
}
