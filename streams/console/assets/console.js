// The page: it connects the feed with the list, the figures, the filter and the keys.

import { count, counted } from "./dom.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { List } from "./list.js";

const byId = (id) => document.getElementById(id);
const input = byId("filter");

// What has been told of the stream since the filter was set. In an epoch, each event that the
// position has moved over was delivered, missed or filtered.
const told = {};

function forget() {
  Object.assign(told, { known: false, epoch: "", seq: 0, total: 0, before: 0, missed: 0, filtered: 0 });
}

/** Notes a position, which so many events that were told of have led to. */
function moveTo(position, events) {
  const dash = position.lastIndexOf("-");
  const epoch = position.slice(0, dash);
  const seq = Number(position.slice(dash + 1));
  if (epoch !== told.epoch) {
    if (told.epoch !== "") { // counts begin anew, too
      told.before += told.total;
      told.total = 0;
    }
    told.epoch = epoch;
    told.seq = 0;
  }
  told.filtered += Math.max(seq - told.seq - events, 0);
  told.seq = seq;
  told.total = Math.max(told.total, seq);
}

// Announcements are for those who do not see the page: not one for each event.
let announced = 0; // events
setInterval(() => {
  const news = list.arrived - announced;
  announced = list.arrived;
  if (news > 0) say(`${counted(news, "new event")}. ${summary()}`);
}, 10_000);

function say(text) {
  byId("status").textContent = text;
}

// Which field of the events is their type is found by looking where the types that the server
// counts occur.
const votes = new Map([["type", 0.5]]);

function typeOf(fields) {
  let looked = 0;
  for (const [name, value] of fields) {
    if (looked++ === 20) break;
    if (votes.size === 100 && !votes.has(name)) continue;
    if (value.kind === "string" && value.size < 600 && figures.isType(value.string)) votes.set(name, (votes.get(name) ?? 0) + 1);
  }
  const name = typeField();
  const value = name && fields.get(name);
  return value && value.kind === "string" && value.size < 600 ? { name, value: value.string } : null;
}

function typeField() {
  let best = null;
  for (const [name, n] of votes) if (n >= 1 && n > (votes.get(best) ?? 0)) best = name;
  return best;
}

const figures = new Figures((type) => {
  const term = typeTerm(type);
  if (!term) return;
  const field = typeField();
  const now = terms(feed.filter);
  const others = now.filter((t) => t !== term && !(field && t.startsWith(`${field}:`)));
  input.value = [...others, ...(now.includes(term) ? [] : [term])].join(" ");
  apply();
});

/** Returns the terms of a filter. */
function terms(filter) {
  return filter.match(/(?:[^ "]|"[^"]*"?)+/g) ?? [];
}

/** Returns what to filter by to see only one type, or "" if there is no way to say it. */
function typeTerm(type) {
  if (type === "" || type.includes('"')) return "";
  const field = typeField();
  if (!field || !/^[^-\s".:][^\s".:]*$/.test(field)) return `"${type}"`;
  return /^[^\s<>][^\s]*$/.test(type) ? `${field}:${type}` : `${field}:"${type}"`;
}

const list = new List(byId("events"), { onChange: showSummary, typeOf, say });

function summary() {
  if (!told.known) return "Waiting for the stream";
  const parts = [`Showing ${count(list.shown)} of ${counted(told.before + told.total, "event")}`];
  if (feed.filter) parts.push(`${count(told.filtered)} filtered out`);
  parts.push(`${count(told.missed)} missed`);
  return parts.join(" · ");
}

function showSummary() {
  byId("summary").textContent = summary();
  byId("total").textContent = told.known ? count(told.total) : "–";
  const empty = byId("empty");
  empty.hidden = byId("events").children.length > 0;
  if (!told.known) empty.textContent = "Waiting for the stream";
  else empty.textContent = feed.filter ? "No event that is kept matches the filter. New ones appear here." : "No events yet. New ones appear here.";
}

function showStats(stats) {
  told.known = true;
  told.total = Math.max(stats.total, told.seq);
  figures.update(stats);
  figures.select(stats.types.map((t) => t.type).find((t) => terms(feed.filter).includes(typeTerm(t))));
  showSummary();
}

const events = new URL(document.body.dataset.events, document.baseURI);
const page = new URL(location.href);
for (const [name, value] of page.searchParams) { // all but what this page has put there
  if (name !== "filter" && name !== "since") events.searchParams.append(name, value);
}

const feed = new Feed(events, {
  state: showState,
  begin() {
    forget();
    list.clear();
    announced = 0;
  },
  snapshot(value, position) {
    const fields = value.fields();
    const stats = JSON.parse(fields.get("stats").raw);
    moveTo(position, 0);
    told.filtered = stats.filtered ?? 0; // of those that are kept
    showStats(stats);
    for (const [, event] of fields.get("events").entries()) list.add(event);
  },
  event(value, position) {
    moveTo(position, 1);
    list.add(value);
  },
  gap(missed, reset, position) {
    moveTo(position, missed);
    told.missed += missed;
    list.addGap(missed, reset);
  },
  stats(stats, position) {
    moveTo(position, 0);
    showStats(stats);
  },
});

const states = {
  connecting: ["Connecting", "Pause"],
  live: ["Live", "Pause"],
  paused: ["Paused", "Resume"],
  asleep: ["Stopped while hidden", "Resume"],
  waiting: ["Reconnecting", "Retry now"],
  denied: ["Not allowed", "Try again"],
  closed: ["Closed", "Try again"],
};

let saidState = "";

function showState(state, { seconds, reason } = {}) {
  const [text, action] = states[state];
  byId("state").dataset.state = state;
  byId("state-text").textContent = state === "waiting" ? `${text} in ${seconds} s` : text;
  byId("pause").textContent = action;
  if (state !== "connecting") { // which tells nothing new
    const notice = byId("notice");
    const why = reason ? `${/[.!?]$/.test(reason) ? reason : `${reason}.`}` : "";
    if (notice.textContent !== why) notice.textContent = why;
    notice.hidden = !why;
    if (state !== saidState) say(text);
    saidState = state;
  }
  figures.run(state === "live");
}

function toggle() {
  if (feed.state === "live" || feed.state === "connecting") feed.pause();
  else feed.connect();
}

byId("pause").addEventListener("click", toggle);

// The filter.

function showFilter(error = "") {
  const value = input.value.trim();
  byId("filter-apply").hidden = value === feed.filter;
  byId("filter-clear").hidden = !value && !feed.filter;
  byId("filter-error").textContent = error;
  byId("filter-error").hidden = !error;
  input.setAttribute("aria-invalid", String(Boolean(error)));
}

let applied = 0;

async function apply() {
  const filter = input.value.trim();
  const mine = ++applied;
  byId("filter-form").setAttribute("aria-busy", "true");
  const error = await feed.use(filter);
  if (mine !== applied) return ""; // a later one has taken its place
  byId("filter-form").removeAttribute("aria-busy");
  if (!error && filter === feed.filter) {
    if (filter) page.searchParams.set("filter", filter);
    else page.searchParams.delete("filter");
    history.replaceState(null, "", page); // so that the page can be handed on with its filter
  }
  showFilter(error);
  return error;
}

byId("filter-form").addEventListener("submit", (e) => {
  e.preventDefault();
  apply();
});
input.addEventListener("input", () => showFilter());
input.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  input.value = feed.filter;
  showFilter();
  input.blur();
});
byId("filter-clear").addEventListener("click", () => {
  input.value = "";
  apply();
  input.focus();
});

// The theme.

byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("graphcache.console.theme", root.dataset.theme);
  } catch {
    // It is for this visit, then.
  }
});

// The keys.

const keys = {
  "/": () => {
    input.focus();
    input.select();
  },
  p: toggle,
  " ": toggle,
  j: () => list.move(1),
  k: () => list.move(-1),
  ArrowDown: () => list.move(1),
  ArrowUp: () => list.move(-1),
  c: () => list.copyCurrent(),
};

document.addEventListener("keydown", (e) => {
  const { target } = e;
  const inList = byId("events").contains(target);
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || target.closest("input, textarea, select")) return;
  if (e.key === " " && target.closest("button, a")) return; // which it presses
  if (e.key.startsWith("Arrow") && !inList) return; // which scrolls
  const key = keys[e.key];
  if (!key || (e.repeat && !/^[jkA]/.test(e.key))) return;
  e.preventDefault();
  key();
});

forget();
input.value = page.searchParams.get("filter") ?? "";
showState("connecting");
if (!input.value.trim() || (await apply())) feed.connect();
