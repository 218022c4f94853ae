// Figures and places in words.

export const PHASES = {
  waiting: "waiting",
  statement: "at a statement",
  idle: "idle",
  leaving: "leaving",
  open: "no connection",
};

export const OUTCOMES = {
  COMMITTED: "committed",
  NOT_COMMITTED: "not committed",
  UNKNOWN: "unknown",
};

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0) return `−${seconds(-value)}`;
  if (value === 0) return "0";
  if (value < 0.000_999_5) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.009_995) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.999_5) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 59.5) return `${Math.round(value)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

function pad(value) {
  return String(value).padStart(2, "0");
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function count(value) {
  return whole.format(value);
}

export function rate(value) {
  return value < 10 ? tenths.format(value) : whole.format(value);
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function ago(at, now) {
  return `${seconds(Math.max(0, now - at))} ago`;
}

// the last two parts of a path are what tells files apart
export function shortPlace(place) {
  const found = /^(.*):(\d+) in (.*)$/s.exec(place);
  if (!found) return place;
  const parts = found[1].split("/");
  return `${parts.slice(-2).join("/")}:${found[2]} in ${found[3]}`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function oneLine(text) {
  return text === null ? "" : text.replace(/\s+/g, " ").trim();
}
