// A JSON value as a tree. What is closed has not been looked at.

import { clip, count, element } from "./dom.js";

const page = 100; // entries that are shown at a time
const longest = 2000; // characters of a string that are shown at first
const more = 50000; // and each time more are asked for
const small = 400; // characters of a value that is open from the beginning
const openDepth = 3;
const indented = 8; // levels

/** Returns the elements of a value that is the whole of something. */
export function tree(value) {
  if (!value.isContainer) return element("div", { class: "tree" }, scalar(value));
  return element("div", { class: "tree" }, level(value, 1));
}

/** Returns a list of what is in a container. */
function level(value, depth) {
  const list = element("ul", depth > indented ? { class: "flat" } : {});
  const entries = value.entries();
  let next = entries.next();
  const fill = () => {
    for (let n = 0; n < page && !next.done; n++, next = entries.next()) {
      list.append(item(...next.value, depth));
    }
    if (next.done) return null;
    const button = element("button", { type: "button", class: "link" }, `Show ${page} more`);
    button.addEventListener("click", () => {
      const at = list.children.length - 1;
      button.parentElement.remove();
      fill();
      list.children[at].querySelector("button")?.focus();
    });
    list.append(element("li", {}, button));
    return button;
  };
  fill();
  if (!list.children.length) list.append(element("li", { class: "none" }, "empty"));
  return list;
}

function item(key, value, depth) {
  const name = element("span", { class: "key" }, clip(String(key), longest));
  if (!value.isContainer) return element("li", {}, name, ": ", scalar(value));
  const object = value.kind === "object";
  if (value.entries().next().done) {
    return element("li", {}, name, ": ", element("span", { class: "none" }, object ? "{}" : "[]"));
  }
  const button = element("button", { type: "button", class: "branch", "aria-expanded": "false" },
    name, element("span", { class: "none" }, object ? " {…}" : " […]"));
  const li = element("li", {}, button);
  const toggle = () => {
    const open = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(open));
    if (open) li.append(level(value, depth + 1));
    else li.lastElementChild.remove();
  };
  button.addEventListener("click", toggle);
  if (depth < openDepth && value.size <= small) toggle();
  return li;
}

function scalar(value) {
  if (value.kind !== "string") return element("span", { class: value.kind }, clip(value.raw, longest));
  const text = value.string;
  if (text.length <= longest) return element("span", { class: "string" }, JSON.stringify(text));
  let shown = longest;
  const span = element("span", { class: "string" }, JSON.stringify(clip(text, shown)).slice(0, -1));
  const button = element("button", { type: "button", class: "link" });
  const label = () => {
    button.textContent = `Show more of ${count(text.length)} characters`;
  };
  label();
  button.addEventListener("click", () => {
    shown += more;
    const all = shown >= text.length;
    span.textContent = all ? JSON.stringify(text) : JSON.stringify(clip(text, shown)).slice(0, -1);
    if (all) button.remove();
  });
  return element("span", {}, span, " ", button);
}
