// Charts of the last hour. Each can be read by pointer, by arrow keys, and as a table.

import { draw, make, mark, say } from "./dom.js";
import { clock, count, rate, seconds } from "./words.js";

const HEIGHT = 132;
const LEFT = 52;
const BOTTOM = 20;
const TOP = 8;

// series: { id, title, value(point) }; kind: "lines", "area" or "stack"
const CHARTS = [
  {
    title: "Rate",
    unit: "scopes ended per second",
    width: 10,
    kind: "area",
    series: [{ id: "rate", title: "scopes", value: (point) => (point.count ?? 0) / 10 }],
    words: (value) => `${rate(value)} /s`,
  },
  {
    title: "Latency",
    unit: "how long scopes took, on a logarithmic scale",
    width: 10,
    kind: "lines",
    logarithmic: true,
    series: [
      { id: "p50", title: "half of them", value: (point) => point.p50 ?? null },
      { id: "p95", title: "95 %", value: (point) => point.p95 ?? null },
      { id: "p99", title: "99 %", value: (point) => point.p99 ?? null },
    ],
    words: seconds,
  },
  {
    title: "Outcomes",
    unit: "scopes per minute",
    width: 60,
    kind: "stack",
    series: [
      { id: "committed", title: "committed", value: (point) => point.committed ?? 0 },
      { id: "not_committed", title: "not committed", value: (point) => point.not_committed ?? 0 },
      { id: "unknown", title: "unknown", value: (point) => point.unknown ?? 0 },
    ],
    words: count,
  },
  {
    title: "Retries and errors",
    unit: "scopes per minute",
    width: 60,
    kind: "stack",
    series: [
      { id: "retried", title: "run again", value: (point) => point.retried ?? 0 },
      { id: "failed", title: "ended by an error", value: (point) => point.failed ?? 0 },
    ],
    words: count,
  },
];

export function makeCharts(place) {
  return CHARTS.map((options) => new Chart(place, options));
}

class Chart {
  constructor(place, options) {
    Object.assign(this, options);
    this.points = [];
    this.at = null;
    this.readout = make("p", { class: "readout" });
    this.svg = draw("svg", {
      tabindex: 0,
      role: "slider",
      "aria-label": `${options.title}, ${options.unit}, over the last hour`,
      "aria-orientation": "horizontal",
      "aria-valuemin": 0,
    });
    this.cursor = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });
    const names = options.series.map((each) =>
      make("li", {}, make("span", { class: "swatch", "data-series": each.id, "aria-hidden": "true" }), each.title),
    );
    const table = make("table");
    this.table = table;
    this.figures = make("details", {}, make("summary", {}, "as a table"), table);
    this.figures.addEventListener("toggle", () => this.tabulate());
    place.append(
      make(
        "figure",
        { class: "panel chart" },
        make(
          "figcaption",
          {},
          make("h2", {}, options.title, " ", make("span", { class: "quiet" }, options.unit)),
          make("ul", { class: "legend" }, ...names),
        ),
        this.svg,
        this.readout,
        this.figures,
      ),
    );
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.move(null));
    this.svg.addEventListener("blur", () => this.move(null));
    this.svg.addEventListener("focus", () => this.move(this.points.length - 1));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(this.svg);
  }

  update(points) {
    this.points = points;
    mark(this.svg, "aria-valuemax", points.length - 1);
    this.render();
    if (this.figures.open) this.tabulate();
    this.tell();
  }

  get wide() {
    return Math.max(200, this.svg.clientWidth);
  }

  x(index) {
    const steps = this.kind === "stack" ? this.points.length : this.points.length - 1;
    return LEFT + (index * (this.wide - LEFT - 4)) / Math.max(1, steps);
  }

  scale() {
    const values = this.points.flatMap((point) =>
      this.kind === "stack"
        ? [this.series.reduce((sum, each) => sum + each.value(point), 0)]
        : this.series.map((each) => each.value(point)),
    ).filter((value) => value !== null && value > 0);
    const room = HEIGHT - TOP - BOTTOM;
    if (this.logarithmic) {
      const low = Math.floor(Math.log10(Math.min(...values, 0.1)));
      const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values, 10 ** low))));
      const step = Math.ceil((high - low) / 4);
      const ticks = [];
      for (let each = low; each <= high; each += step) ticks.push(10 ** each);
      return { ticks, y: (value) => TOP + room * (1 - (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) };
    }
    const top = round(Math.max(...values, 0), this.kind === "stack");
    return { ticks: [0, top / 2, top], y: (value) => TOP + room * (1 - value / top) };
  }

  render() {
    if (!this.points.length || !this.svg.clientWidth) return;
    const { ticks, y } = this.scale();
    mark(this.svg, "viewBox", `0 0 ${this.wide} ${HEIGHT}`);
    const parts = [];
    for (const tick of ticks) {
      parts.push(draw("line", { class: "tick", x1: LEFT, x2: this.wide - 4, y1: y(tick), y2: y(tick) }));
      parts.push(draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, this.words(tick)));
    }
    const length = this.points.length;
    for (const minutes of [60, 45, 30, 15, 0]) {
      const at = this.x(Math.round(((length - 1) * (60 - minutes)) / 60));
      const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
      parts.push(draw("text", { x: at, y: HEIGHT - 4, "text-anchor": anchor }, minutes ? `−${minutes} min` : "now"));
    }
    const shapes = this.kind === "stack" ? this.bars(y) : this.lines(y);
    this.svg.replaceChildren(...parts, ...shapes, this.cursor);
    this.place();
  }

  lines(y) {
    return this.series.flatMap((each) => {
      const pieces = [];
      let open = false;
      this.points.forEach((point, index) => {
        const value = each.value(point);
        if (value === null) {
          open = false;
          return;
        }
        pieces.push(`${open ? "L" : "M"}${this.x(index).toFixed(1)} ${y(value).toFixed(1)}`);
        // a single point is seen too
        if (!open) pieces.push("h0.01");
        open = true;
      });
      const line = draw("path", { class: "curve", "data-series": each.id, d: pieces.join("") });
      if (this.kind !== "area") return [line];
      const floor = y(0).toFixed(1);
      const shape = `${pieces.join("")}L${this.x(this.points.length - 1).toFixed(1)} ${floor}L${LEFT} ${floor}Z`;
      return [draw("path", { class: "area", "data-series": each.id, d: shape }), line];
    });
  }

  bars(y) {
    const step = this.x(1) - this.x(0);
    const shapes = [];
    this.points.forEach((point, index) => {
      let sum = 0;
      for (const each of this.series) {
        const value = each.value(point);
        if (!value) continue;
        const [from, to] = [y(sum), y(sum + value)];
        shapes.push(
          draw("rect", {
            class: "bar",
            "data-series": each.id,
            x: this.x(index) + 0.5,
            width: Math.max(1, step - 1.5),
            y: to,
            height: Math.max(1, from - to),
          }),
        );
        sum += value;
      }
    });
    return shapes;
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (box.width - LEFT - 4);
    const last = this.points.length - 1;
    const index = this.kind === "stack" ? Math.floor(part * this.points.length) : Math.round(part * last);
    this.move(Math.max(0, Math.min(last, index)));
  }

  key(event) {
    const last = this.points.length - 1;
    const to = {
      ArrowLeft: this.at - 1,
      ArrowRight: this.at + 1,
      PageUp: this.at + Math.ceil(last / 10),
      PageDown: this.at - Math.ceil(last / 10),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(Math.max(0, Math.min(last, to)));
  }

  move(index) {
    this.at = index;
    this.place();
    this.tell();
  }

  place() {
    mark(this.cursor, "visibility", this.at === null ? "hidden" : "visible");
    if (this.at === null || !this.points.length) return;
    const half = this.kind === "stack" ? (this.x(1) - this.x(0)) / 2 : 0;
    mark(this.cursor, "x1", this.x(this.at) + half);
    mark(this.cursor, "x2", this.x(this.at) + half);
  }

  tell() {
    // the last stretch that is over, unless one is looked at
    const point = this.points[this.at ?? Math.max(0, this.points.length - 2)];
    if (!point) return;
    const words = `${clock(point.at)}: ${this.said(point)}`;
    say(this.readout, words);
    mark(this.svg, "aria-valuenow", this.at ?? this.points.length - 1);
    mark(this.svg, "aria-valuetext", words);
  }

  said(point) {
    return this.series
      .map((each) => {
        const value = each.value(point);
        return `${this.series.length > 1 ? `${each.title} ` : ""}${value === null ? "–" : this.words(value)}`;
      })
      .join(" · ");
  }

  tabulate() {
    if (!this.figures.open) return;
    const every = 300 / this.width;
    const chosen = this.points.filter((_, index) => (this.points.length - 1 - index) % every === 0);
    const head = make("tr", {}, make("th", { scope: "col" }, "at"), ...this.series.map((each) => make("th", { scope: "col" }, each.title)));
    const lines = chosen.reverse().map((point) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, clock(point.at)),
        ...this.series.map((each) => {
          const value = each.value(point);
          return make("td", {}, value === null ? "–" : this.words(value));
        }),
      ),
    );
    this.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
  }
}

// a number with one digit that is not less
function round(value, wholeNumbers) {
  if (value <= 0) return wholeNumbers ? 2 : 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((each) => each * power >= value) * power;
  return wholeNumbers ? Math.max(2, step) : step;
}
