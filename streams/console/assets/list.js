// The list of events, the newest on top, of which there are at most so many. Rows are added once a
// frame. What belongs to a row that is closed is the text of its event, and no more.

import { clip, copy, count, counted, element } from "./dom.js";
import { pretty } from "./json.js";
import { tree } from "./tree.js";

const most = 200; // rows
const parts = 6; // fields of an event in its row
const partLength = 48; // characters of each

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

export class List {
  #root;
  #onChange;
  #typeOf;
  #say;
  #queue = [];
  #drawing = false;
  #current = null; // the row that Tab comes to
  #visited = false; // the user has been there
  #rows = new WeakMap(); // of the elements
  #added = 0;
  shown = 0; // events that are in the list
  arrived = 0; // events that were, at some time

  /**
   * onChange is called after the list has changed, typeOf(fields) returns the name and value of the
   * field that is an event's type, or null, and say tells something to those who listen.
   */
  constructor(root, { onChange, typeOf, say }) {
    this.#root = root;
    this.#onChange = onChange;
    this.#typeOf = typeOf;
    this.#say = say;
    root.addEventListener("click", (e) => this.#click(e));
    root.addEventListener("focusin", (e) => {
      const row = e.target.closest(".row");
      this.#visited ||= row !== null;
      this.#setCurrent(row);
    });
  }

  clear() {
    this.#queue = [];
    this.#root.replaceChildren();
    this.#current = null;
    this.#visited = false;
    this.shown = this.arrived = this.#added = 0;
    this.#onChange();
  }

  /** Adds an event. */
  add(value) {
    this.#added++;
    this.#push(value);
  }

  /** Adds a row that says what is missing. */
  addGap(missed, reset) {
    this.#push({ missed, reset });
  }

  #push(what) {
    this.#queue.push(what);
    if (this.#queue.length > 2 * most) this.#queue = this.#queue.slice(-most);
    if (this.#drawing) return;
    this.#drawing = true;
    // There are no frames while the page is hidden.
    if (document.hidden) setTimeout(() => this.draw(), 200);
    else requestAnimationFrame(() => this.draw());
  }

  /** Shows what has been added. */
  draw() {
    this.#drawing = false;
    if (!this.#queue.length) return;
    const rows = this.#queue.slice(-most).map((what) => ("missed" in what ? gapRow(what) : this.#eventRow(what)));
    this.#queue = [];
    this.#root.prepend(...rows.reverse());
    this.#trim();
    if (!this.#visited) this.#setCurrent(this.#root.firstElementChild);
    this.arrived = this.#added;
    this.shown = this.#root.querySelectorAll(":scope > .event").length;
    this.#onChange();
  }

  /** Removes the oldest rows, but not the one that is being read. */
  #trim() {
    let row = this.#root.lastElementChild;
    while (this.#root.children.length > most && row) {
      const before = row.previousElementSibling;
      if (!row.contains(document.activeElement)) {
        if (row === this.#current) this.#visited = false;
        row.remove();
      }
      row = before;
    }
  }

  #eventRow(value) {
    let row;
    try {
      row = rowOf(value, this.#typeOf);
    } catch {
      row = element("li", { class: "row event" }, element("p", { class: "head", tabindex: "-1" }, "An event that cannot be read"));
    }
    this.#rows.set(row, value);
    return row;
  }

  /** Moves to another row, n further down. */
  move(n) {
    const focused = document.activeElement.closest?.(".row");
    let to = this.#current ?? this.#root.firstElementChild;
    if (focused) to = (n > 0 ? focused.nextElementSibling : focused.previousElementSibling) ?? focused;
    to?.querySelector(".head").focus();
  }

  /** Tab comes to the row at which one was last, and not to each. */
  #setCurrent(row) {
    if (!row || row === this.#current) return;
    this.#current?.querySelector(".head").setAttribute("tabindex", "-1");
    row.querySelector(".head").setAttribute("tabindex", "0");
    this.#current = row;
  }

  #click(e) {
    const button = e.target.closest("button");
    const row = e.target.closest(".event");
    if (!button || !row) return;
    if (button.classList.contains("head")) {
      button.focus();
      this.#toggle(row, button);
    } else if (button.classList.contains("copy")) {
      this.#copy(row);
    }
  }

  #toggle(row, head) {
    const open = head.getAttribute("aria-expanded") === "false";
    head.setAttribute("aria-expanded", String(open));
    row.classList.toggle("open", open);
    if (open) row.append(details(this.#rows.get(row)));
    else row.lastElementChild.remove();
  }

  /** Copies the row at which one is. */
  copyCurrent() {
    const row = document.activeElement.closest?.(".event");
    if (row) this.#copy(row);
  }

  async #copy(row) {
    const fields = this.#rows.get(row).fields();
    const done = await copy(pretty(fields.get("data") ?? this.#rows.get(row)));
    this.#say(done ? "Copied" : "The browser does not allow copying");
    const button = row.querySelector("button.copy");
    if (!button) return;
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = "Copy JSON"), 1500);
  }
}

function rowOf(value, typeOf) {
  const event = value.fields();
  const data = event.get("data");
  const fields = data?.fields() ?? new Map();
  const type = typeOf(fields);
  const problem = event.get("problem")?.string;
  const text = element("span", { class: "text" });
  if (problem) text.append(element("span", { class: "problem" }, clip(problem, 300)));
  else if (data) text.append(...preview(data, fields, type?.name));
  const head = element("button", { type: "button", class: "head", "aria-expanded": "false", tabindex: "-1" },
    timeOf(event), type ? element("span", { class: `type tint${tint(type.value)}` }, clip(type.value, partLength)) : null,
    text, element("span", { class: "seq" }, `#${count(sequence(event))}`));
  return element("li", { class: "row event" }, head);
}

/** Returns the first fields of an event, in short. */
function preview(data, fields, without) {
  if (!data.isContainer) return [short(data)];
  if (data.kind === "array") return [element("span", { class: "none" }, clip(data.raw, 4 * partLength))];
  const shown = [...fields].filter(([key]) => key !== without);
  shown.sort(([, a], [, b]) => a.isContainer - b.isContainer); // which say little
  const out = [];
  for (const [key, value] of shown.slice(0, parts)) {
    out.push(element("span", { class: "part" }, element("span", { class: "key" }, clip(key, partLength)), " ", short(value)));
  }
  return out;
}

function short(value) {
  if (value.isContainer) return element("span", { class: "none" }, value.kind === "object" ? "{…}" : "[…]");
  const text = value.size > 1 << 16 ? `${clip(value.raw.slice(1, partLength), partLength)}…` : value.string;
  return element("span", { class: value.kind }, text.length > partLength ? `${clip(text, partLength)}…` : text);
}

function timeOf(event) {
  const iso = event.get("time")?.string ?? "";
  const time = new Date(iso);
  if (!iso || time.getFullYear() < 1970 || Number.isNaN(time.getTime())) return element("span", { class: "time" }, "–");
  return element("time", { class: "time", datetime: iso }, clock.format(time));
}

/** The number of an event: what is after the dash of its position. */
function sequence(event) {
  const position = event.get("pos")?.string ?? "";
  return Number(position.slice(position.lastIndexOf("-") + 1)) || 0;
}

function details(value) {
  const event = value.fields();
  const data = event.get("data");
  const time = new Date(event.get("time")?.string ?? "");
  const known = !Number.isNaN(time.getTime()) && time.getFullYear() >= 1970;
  const about = [event.get("pos")?.string, known ? date.format(time) : null, data ? `${counted(data.size, "byte")} of JSON` : null];
  return element("div", { class: "details" },
    element("div", { class: "about" }, element("span", {}, about.filter(Boolean).join(" · ")),
      element("button", { type: "button", class: "small copy", "aria-keyshortcuts": "c" }, "Copy JSON")),
    event.has("problem") ? element("p", { class: "problem" }, event.get("problem").string) : null,
    data ? tree(data) : null);
}

function gapRow({ missed, reset }) {
  const text = reset
    ? element("p", { class: "head", tabindex: "-1" }, element("strong", {}, "The stream began anew"),
      missed > 0 ? `, ${counted(missed, "event")} of the new one missed` : "",
      element("span", { class: "why" }, "It had expired or was lost. What was missed of the old one is not known."))
    : element("p", { class: "head", tabindex: "-1" }, element("strong", {}, `${counted(missed, "event")} missed`),
      element("span", { class: "why" }, "More had come than the stream keeps."));
  return element("li", { class: reset ? "row gap reset" : "row gap" }, text);
}

const tints = new Map();

/** Returns which of the eight tints a type has: the first ones have different ones. */
export function tint(type) {
  let n = tints.get(type);
  if (n === undefined) {
    n = tints.size % 8;
    if (tints.size < 1000) tints.set(type, n);
  }
  return n;
}
