// Making elements. Text gets into the page as text nodes only.

/** Returns an element with attributes (a true one is empty, a null or false one left out) and content. */
export function element(name, attributes = {}, ...content) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...content.filter((c) => c !== null));
  return e;
}

/** Returns an element of SVG. */
export function svg(name, attributes = {}) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

/** Returns at most n characters of a text, and does not cut one in two. */
export function clip(text, n) {
  if (text.length <= n) return text;
  return text.slice(0, /[\uD800-\uDBFF]/.test(text[n - 1]) ? n - 1 : n);
}

const number = new Intl.NumberFormat("en");

/** Returns a number with its thousands set apart. */
export const count = (n) => number.format(n);

/** Returns, for instance, "1 event" or "2 events". */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Puts a text on the clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // There is no clipboard for pages that came without TLS.
  }
  const focused = document.activeElement;
  const area = element("textarea", { class: "offscreen", readonly: true, tabindex: "-1", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    done = false;
  }
  area.remove();
  focused?.focus({ preventScroll: true });
  return done;
}
