// What was found: what it is, what to do, where it comes from, and the way to the scope.

import { keep, make, mark, say } from "./dom.js";
import { get } from "./feed.js";
import { addressOf } from "./model.js";
import { ago, oneLine, plural } from "./words.js";

export class Findings {
  constructor(place) {
    this.none = make("p", { class: "panel empty" }, "Nothing was found.");
    this.list = make("div", { role: "feed", "aria-label": "Findings" });
    place.append(this.none, this.list);
  }

  update(findings, now) {
    this.none.hidden = findings.length > 0;
    keep(this.list, findings, (each) => `${each.process} ${each.database} ${each.id}`, create, (node, each) => {
      const several = each.count === 1 ? "once" : `${plural(each.count, "time")}, first ${ago(each.first, now)}`;
      say(node.parts.times, `${each.whose} · ${several}, last ${ago(each.last, now)}`);
      // the scope that it was last seen in changes
      say(node.parts.message, each.message);
      const scope = each.scope;
      node.parts.link.hidden = scope === null;
      if (scope !== null) {
        mark(node.parts.link, "href", addressOf(each.process, each.database, scope.number));
        say(node.parts.link, `Show scope ${scope.name} #${scope.number}`);
      }
    });
  }
}

function create(each) {
  const title = `finding-${each.process}-${each.id}`;
  const parts = {
    times: make("p", { class: "quiet" }),
    message: make("p", { class: "message" }),
    link: make("a", { class: "button" }),
    source: make("pre", { class: "source", tabindex: 0, "aria-label": `source around ${each.place}`, hidden: true }),
  };
  const node = make(
    "article",
    { class: "panel finding", "aria-labelledby": title, tabindex: -1 },
    make("div", { class: "finding-head" }, make("h2", { id: title }, each.code), parts.times),
    parts.message,
    make("p", { class: "advice" }, make("strong", {}, "What to do: "), each.advice),
    each.place ? make("p", {}, make("code", {}, each.place)) : null,
    parts.source,
    each.statement ? make("p", { class: "statement" }, make("code", {}, oneLine(each.statement))) : null,
    each.stack.length ? stackOf(each.stack) : null,
    parts.link,
  );
  node.parts = parts;
  if (each.file !== null) lines(parts.source, each);
  return node;
}

function stackOf(stack) {
  const list = make("ol", { class: "stack" });
  for (const line of [...stack].reverse()) list.append(make("li", {}, make("code", {}, line)));
  return make("details", {}, make("summary", {}, "where its owner was, innermost first"), list);
}

async function lines(place, each) {
  let found;
  try {
    found = await get("api/source", { process: each.process, database: each.database, number: each.id });
  } catch {
    return; // its place is told all the same
  }
  for (const line of found) {
    const number = make("span", { class: "line-number" }, String(line.number).padStart(5));
    place.append(make(line.meant ? "mark" : "span", { class: "source-line" }, number, `  ${line.text}\n`));
  }
  place.hidden = found.length === 0;
}
