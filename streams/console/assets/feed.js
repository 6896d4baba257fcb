// The connection to the events. It keeps the position that has been reached, and every
// connection but the first goes on from there: what came meanwhile is delivered, or is counted
// as missed. EventSource would do so by itself after a failure, but neither says what
// the failure was nor when it tries again.

import { Value } from "./json.js";

const hiddenFor = 60_000; // ms after which a page that is not visible stops
const firstDelay = 1_000; // ms until the first attempt to connect again
const longestDelay = 30_000;
const good = 10_000; // ms that a connection must last for the next delay to be the first again

/**
 * A Feed calls
 *   on.state(name, { seconds, reason }) when the state changes: connecting, live, paused, asleep
 *     (after a minute in which the page was hidden), waiting (for so many seconds, to
 *     connect again), denied or closed;
 *   on.begin(filter) when it starts anew, with another filter;
 *   on.snapshot(Value, position), on.event(Value, position), on.gap(missed, reset, position) and
 *     on.stats(object, position), with the position that this leads to.
 */
export class Feed {
  #on;
  #base;
  #filter = "";
  #position = "";
  #source = null;
  #state = "";
  #failures = 0;
  #timer = 0;
  #hidden = 0;
  #probe = null; // the request of #explain that is under way
  #asking = null; // that of use

  constructor(base, on) {
    this.#base = base;
    this.#on = on;
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.#state === "waiting" && this.connect());
    addEventListener("pagehide", () => this.#running && this.#stop("asleep"));
    addEventListener("pageshow", () => this.#state === "asleep" && this.#visibility());
    this.#visibility();
  }

  get state() {
    return this.#state;
  }

  get filter() {
    return this.#filter;
  }

  get #running() {
    return this.#state === "connecting" || this.#state === "live" || this.#state === "waiting";
  }

  /** Goes on from the position that was reached. */
  connect() {
    this.#failures = 0;
    this.#open();
  }

  #open() {
    this.#stop("connecting");
    let opened = 0;
    const source = new EventSource(this.#url(this.#filter, this.#position));
    this.#source = source;
    source.onopen = () => {
      opened = performance.now();
      this.#enter("live");
    };
    source.onerror = () => {
      this.#stop(this.#state);
      if (opened && performance.now() - opened > good) this.#failures = 0;
      if (opened) this.#wait("The connection was closed");
      else this.#explain();
    };
    const listen = (type, handle) => source.addEventListener(type, (e) => {
      if (source !== this.#source) return;
      if (e.lastEventId) this.#position = e.lastEventId;
      handle(e.data, e.lastEventId);
    });
    listen("snapshot", (data, position) => this.#on.snapshot(Value.of(data), position));
    listen("event", (data, position) => this.#on.event(Value.of(data), position));
    listen("gap", (data, position) => this.#on.gap(JSON.parse(data).missed, false, position));
    listen("reset", (data, position) => this.#on.gap(JSON.parse(data).missed, true, position));
    listen("stats", (data, position) => this.#on.stats(JSON.parse(data), position));
  }

  /** Keeps the position, and lets nothing through until connect. */
  pause() {
    this.#stop("paused");
  }

  /**
   * Starts anew with another filter, if the server accepts it, and goes on as before if not.
   * Returns what the server has to say against it, or "".
   */
  async use(filter) {
    this.#asking?.abort();
    const request = new AbortController();
    this.#asking = request;
    let response, text;
    try {
      response = await fetch(this.#url(filter, ""), { headers: { Accept: "application/json" }, signal: request.signal, redirect: "manual" });
      text = await response.text();
    } catch (e) {
      if (request.signal.aborted) return "";
      return `The filter could not be applied: ${e.message}`;
    }
    if (request.signal.aborted) return "";
    if (!response.ok) return errorOf(response, text);
    let snapshot, position;
    try {
      snapshot = Value.of(text);
      position = snapshot.fields().get("pos").string;
    } catch {
      return "The filter could not be applied: the server's answer cannot be read";
    }
    this.#stop("connecting");
    this.#filter = filter;
    this.#position = position;
    this.#on.begin(filter);
    this.#on.snapshot(snapshot, position);
    this.connect();
    return "";
  }

  #url(filter, since) {
    const url = new URL(this.#base);
    if (filter) url.searchParams.set("filter", filter);
    if (since) url.searchParams.set("since", since);
    return url;
  }

  #enter(state, detail = {}) {
    this.#state = state;
    this.#on.state(state, detail);
  }

  /** Lets go of everything that is under way. */
  #stop(state) {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
    this.#probe?.abort();
    this.#probe = null;
    if (state === "paused" || state === "asleep") this.#asking?.abort();
    if (state !== this.#state) this.#enter(state);
  }

  /** Asks for what EventSource does not tell: why there was no connection. */
  async #explain() {
    const request = new AbortController();
    this.#probe = request;
    let response, text;
    try {
      response = await fetch(this.#url(this.#filter, this.#position), { headers: { Accept: "application/json" }, signal: request.signal, redirect: "manual" });
      text = await response.text();
    } catch {
      if (!request.signal.aborted) this.#wait("The server does not answer");
      return;
    }
    if (request.signal.aborted) return;
    const reason = errorOf(response, text);
    if (response.type === "opaqueredirect" || response.status === 401 || response.status === 403) {
      this.#enter("denied", { reason });
    } else if (response.ok) {
      this.#wait("The connection failed");
    } else if (response.status === 429 || response.status >= 500) {
      this.#wait(reason, Number(response.headers.get("Retry-After")) * 1000);
    } else {
      this.#enter("closed", { reason });
    }
  }

  /** Connects again after a while, which grows from failure to failure. */
  #wait(reason, least = 0) {
    const delay = Math.min(firstDelay * 2 ** this.#failures, longestDelay) * (0.75 + Math.random() / 2);
    const until = performance.now() + Math.max(delay, Math.min(least || 0, 10 * longestDelay));
    this.#failures++;
    const tick = () => {
      const left = until - performance.now();
      if (left <= 0) {
        this.#open();
        return;
      }
      this.#enter("waiting", { seconds: Math.ceil(left / 1000), reason });
      this.#timer = setTimeout(tick, Math.min(left, 1000));
    };
    tick();
  }

  #visibility() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => this.#running && this.#stop("asleep"), hiddenFor);
    } else if (this.#state === "asleep") {
      this.connect();
    }
  }
}

/** Returns what an answer of the server says is wrong. */
function errorOf(response, text) {
  if (response.type === "opaqueredirect") return "The server asks to sign in. Do so, then load this page again.";
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string" && error) return error;
  } catch {
    // It was not the handler of the events that answered.
  }
  return `The server answered with status ${response.status}`;
}
