// A table of any number of rows, of which only those in sight are in the document.

import { keep, make, mark, say } from "./dom.js";

const HEIGHT = 32;
const BEYOND = 6;
const MOST = 14;

export class Grid {
  // columns: { id, title, text(row), value(row)?, width, number?, chip?(row), hint?(row) }
  constructor(place, { label, columns, sort, descending = false, open = null, empty, rows = MOST }) {
    this.columns = columns;
    this.open = open;
    this.sort = sort;
    this.descending = descending;
    this.most = rows;
    this.rows = [];
    this.active = null;
    this.shown = new Map();
    this.head = make("div", { class: "grid-head", role: "row", "aria-rowindex": 1 });
    this.space = make("div", { class: "grid-space", role: "rowgroup" });
    this.body = make("div", { class: "grid-body", role: "presentation" }, this.space);
    this.empty = make("p", { class: "empty" }, empty);
    this.root = make(
      "div",
      { class: "grid", role: "grid", "aria-label": label, "aria-colcount": columns.length, "aria-readonly": "true" },
      make("div", { role: "rowgroup", class: "grid-top" }, this.head),
      this.body,
    );
    this.root.style.setProperty("--columns", columns.map((each) => each.width).join(" "));
    this.body.addEventListener("scroll", () => this.render(), { passive: true });
    this.space.addEventListener("keydown", (event) => this.key(event));
    this.space.addEventListener("click", (event) => this.click(event));
    for (const column of columns) this.head.append(this.header(column));
    this.headers();
    place.append(this.root, this.empty);
  }

  header(column) {
    const button = make("button", { type: "button", onclick: () => this.order(column.id) }, column.title);
    const node = make("div", { role: "columnheader", class: column.number ? "number" : null }, button);
    node.column = column.id;
    return node;
  }

  order(id) {
    this.descending = this.sort === id ? !this.descending : Boolean(this.columns.find((each) => each.id === id).number);
    this.sort = id;
    this.headers();
    this.update(this.rows);
  }

  headers() {
    for (const node of this.head.children) {
      const way = node.column !== this.sort ? "none" : this.descending ? "descending" : "ascending";
      mark(node, "aria-sort", way);
    }
  }

  update(rows) {
    const column = this.columns.find((each) => each.id === this.sort);
    const value = column.value ?? column.text;
    const way = this.descending ? -1 : 1;
    const order = rows.map((row) => [value(row), row]);
    order.sort(([one], [other]) => (one < other ? -way : one > other ? way : 0));
    this.rows = order.map(([, row]) => row);
    this.empty.hidden = rows.length > 0;
    this.root.hidden = rows.length === 0;
    mark(this.root, "aria-rowcount", rows.length + 1);
    this.root.classList.toggle("scrolls", rows.length > this.most);
    this.body.style.height = `${Math.min(rows.length, this.most) * HEIGHT}px`;
    this.space.style.height = `${rows.length * HEIGHT}px`;
    this.render();
  }

  render() {
    const first = Math.max(0, Math.floor(this.body.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(this.rows.length, first + this.most + 2 * BEYOND);
    const items = [];
    let entered = false;
    for (let index = first; index < last; index += 1) {
      const row = this.rows[index];
      items.push({ row, index });
      entered ||= row.key === this.active;
    }
    // one row is reached by the tabulator: the one that was left, or the first in sight
    const tab = entered ? this.active : this.rows[Math.floor(this.body.scrollTop / HEIGHT)]?.key;
    const focused = this.space.contains(document.activeElement) ? document.activeElement.key : null;
    keep(this.space, items, (item) => item.row.key, () => this.line(), (node, item) => this.change(node, item, tab));
    if (focused !== null && !this.space.contains(document.activeElement)) {
      // the row that had the focus has gone: the one in its place has it now
      this.space.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
    }
  }

  line() {
    const cells = this.columns.map((column) =>
      make("div", { role: "gridcell", class: column.number ? "number" : null }),
    );
    return make("div", { role: "row", class: this.open ? "row opens" : "row", tabindex: -1 }, ...cells);
  }

  change(node, { row, index }, tab) {
    node.key = row.key;
    const top = `translateY(${index * HEIGHT}px)`;
    if (node.top !== top) node.style.transform = node.top = top;
    mark(node, "aria-rowindex", index + 2);
    mark(node, "tabindex", row.key === tab ? 0 : -1);
    this.columns.forEach((column, number) => {
      const cell = node.children[number];
      say(cell, column.text(row));
      if (column.chip) mark(cell, "data-chip", column.chip(row));
      if (column.hint) mark(cell, "title", column.hint(row));
    });
  }

  click(event) {
    const node = event.target.closest("[role=row]");
    if (node) this.choose(node.key);
  }

  choose(key) {
    this.active = key;
    const row = this.rows.find((each) => each.key === key);
    if (row && this.open) this.open(row);
  }

  key(event) {
    const node = event.target.closest("[role=row]");
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(node.key);
      return;
    }
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: this.most, PageUp: -this.most, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const from = this.rows.findIndex((each) => each.key === node.key);
    const to = Math.max(0, Math.min(this.rows.length - 1, from + steps[event.key]));
    this.focus(to);
  }

  focus(index) {
    const row = this.rows[index];
    if (!row) return;
    this.active = row.key;
    const top = index * HEIGHT;
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    else if (top + HEIGHT > this.body.scrollTop + this.body.clientHeight) {
      this.body.scrollTop = top + HEIGHT - this.body.clientHeight;
    }
    this.render();
    this.space.kept.get(row.key)?.focus({ preventScroll: true });
  }
}
