// The figures: totals, types and the sparkline.

import { clip, count, counted, element, svg } from "./dom.js";
import { tint } from "./list.js";

const typesShown = 10; // until all are asked for
const buckets = 60;

export class Figures {
  #byId = (id) => document.getElementById(id);
  #onType;
  #items = new Map(); // of the types
  #all = false;
  #stats = null;
  #received = 0;
  #bars = [];
  #timer = 0;

  /** onType is called with a type on which the user has clicked. */
  constructor(onType) {
    this.#onType = onType;
    const more = this.#byId("types-more");
    more.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#types();
    });
    for (let i = 0; i < buckets; i++) {
      const bar = svg("rect", { x: 4 * i + 0.5, y: 47, width: 3, height: 1, rx: 0.5 });
      this.#bars.push(bar);
      this.#byId("spark").append(bar);
    }
  }

  /** Shows new figures. */
  update(stats) {
    this.#stats = stats;
    this.#received = performance.now();
    this.#byId("unique").textContent = count(stats.unique ?? 0);
    this.#byId("total").title = stats.created ? `Since ${new Date(stats.created).toLocaleString("en-GB")}` : "";
    this.#byId("unique-box").hidden = stats.total > 0 && !stats.unique; // they are not counted
    this.#types();
    this.#spark();
  }

  /** Lets time pass in the sparkline, or not. */
  run(running) {
    clearInterval(this.#timer);
    if (running) this.#timer = setInterval(() => this.#spark(), 1000);
  }

  /** Whether a text is a type of which there were events. */
  isType(text) {
    return this.#items.has(text);
  }

  /** Marks the type that is in the filter. */
  select(type) {
    for (const [name, item] of this.#items) item.firstElementChild.setAttribute("aria-pressed", String(name === type));
  }

  // Types change their places only while nobody is about to click on one.
  #types() {
    const types = (this.#stats?.types ?? []).toSorted((a, b) => b.count - a.count);
    const root = this.#byId("types");
    const held = root.matches(":hover") || root.contains(document.activeElement);
    const most = types[0]?.count || 1;
    for (const { type, count: n } of types) {
      let item = this.#items.get(type);
      if (!item) {
        item = this.#item(type);
        this.#items.set(type, item);
        root.append(item);
      } else if (!held) {
        root.append(item);
      }
      const [share, , number] = item.firstElementChild.children;
      share.style.inlineSize = `${(100 * n) / most}%`;
      number.textContent = count(n);
    }
    const present = new Set(types.map((t) => t.type));
    for (const [type, item] of this.#items) {
      if (present.has(type)) continue;
      item.remove();
      this.#items.delete(type);
    }
    [...root.children].forEach((item, i) => (item.hidden = !this.#all && i >= typesShown));
    const more = this.#byId("types-more");
    more.hidden = types.length <= typesShown;
    more.textContent = this.#all ? "Show fewer" : `Show all ${types.length}`;
    this.#byId("types-box").hidden = types.length === 0;
  }

  #item(type) {
    const button = element("button", { type: "button", "aria-pressed": "false", disabled: type === "" },
      element("span", { class: "share", "aria-hidden": "true" }),
      element("span", { class: `name tint${tint(type)}` }, type === "" ? "other" : clip(type, 100)),
      element("span", { class: "number" }));
    button.addEventListener("click", () => this.#onType(type));
    return element("li", {}, button);
  }

  #spark() {
    const { spark = [], bucket_ms: width = 0 } = this.#stats ?? {};
    if (!width || spark.length !== buckets) return;
    // Figures come when they change, and they do while something is in the sparkline. This is for
    // when they do not come.
    const passed = Math.min(Math.max(Math.floor((performance.now() - this.#received) / width) - 1, 0), buckets);
    const now = [...spark.slice(passed), ...Array(passed).fill(0)];
    const peak = Math.max(...now);
    now.forEach((n, i) => {
      const height = n ? Math.max((46 * n) / peak, 2) : 1;
      this.#bars[i].setAttribute("y", 48 - height);
      this.#bars[i].setAttribute("height", height);
      this.#bars[i].setAttribute("class", n ? "some" : "");
    });
    const span = `Last ${duration(buckets * width).replace(/^an? /, "")}`;
    const text = peak ? `peak ${count(peak)} in ${duration(width)}` : "no events";
    this.#byId("spark-span").textContent = span;
    this.#byId("spark-peak").textContent = text;
    this.#byId("spark").setAttribute("aria-label", `${span}: ${counted(now.reduce((a, b) => a + b), "event")}${peak ? `, ${text}` : ""}`);
  }
}

function duration(ms) {
  const units = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000]];
  for (const [unit, length] of units) {
    if (ms >= length && ms % length === 0) return ms === length ? unit === "hour" ? "an hour" : `a ${unit}` : counted(ms / length, unit);
  }
  return `${count(ms)} ms`;
}
