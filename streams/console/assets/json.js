// Reading JSON by parts. An event may be large, deep, or have numbers that JavaScript would
// round, so it stays the text that the server sent, and what is looked at of it is found when
// it is looked at. Nothing here is recursive. The text is taken to be valid JSON; of
// one that is not, the functions throw or find too little, but they end.

const literal = /[^\s,:[\]{}"]+/y;
const blank = /[ \t\r\n]*/y;

/** Returns the index of the first character from i on that is not white space. */
function skip(text, i) {
  blank.lastIndex = i;
  blank.test(text);
  return blank.lastIndex;
}

/** Returns the index after the string that begins at i. */
function endOfString(text, i) {
  for (let end = i; ;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) throw new SyntaxError("a string does not end");
    let slashes = 0;
    while (text[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
}

/** Returns the index after the value that begins at i. */
function endOf(text, i) {
  const c = text[i];
  if (c === '"') return endOfString(text, i);
  if (c !== "{" && c !== "[") {
    literal.lastIndex = i;
    if (!literal.test(text)) throw new SyntaxError(`no value at ${i}`);
    return literal.lastIndex;
  }
  const mark = /["[\]{}]/g;
  mark.lastIndex = i;
  let depth = 0;
  for (let m; (m = mark.exec(text));) {
    if (m[0] === '"') {
      mark.lastIndex = endOfString(text, m.index);
    } else {
      depth += m[0] === "{" || m[0] === "[" ? 1 : -1;
      if (depth === 0) return mark.lastIndex;
    }
  }
  throw new SyntaxError("a value does not end");
}

/** A Value is a part of a JSON text. */
export class Value {
  constructor(text, start, end) {
    this.text = text;
    this.start = start;
    this.end = end;
  }

  /** Returns the value that a text consists of. */
  static of(text) {
    const start = skip(text, 0);
    return new Value(text, start, endOf(text, start));
  }

  /** One of "object", "array", "string", "number" and "literal". */
  get kind() {
    const c = this.text[this.start];
    if (c === "{") return "object";
    if (c === "[") return "array";
    if (c === '"') return "string";
    return c === "-" || (c >= "0" && c <= "9") ? "number" : "literal";
  }

  get isContainer() {
    return this.kind === "object" || this.kind === "array";
  }

  get size() {
    return this.end - this.start;
  }

  /** The text of the value as it was sent. */
  get raw() {
    return this.text.slice(this.start, this.end);
  }

  /** What a string is; for other values their text. */
  get string() {
    return this.kind === "string" ? JSON.parse(this.raw) : this.raw;
  }

  /** Yields [key, value] of an object, or [index, value] of an array, as far as it is asked to. */
  *entries() {
    const { text } = this;
    const keyed = this.kind === "object";
    let i = skip(text, this.start + 1);
    for (let n = 0; i < this.end - 1; n++) {
      let key = n;
      if (keyed) {
        const end = endOfString(text, i);
        key = JSON.parse(text.slice(i, end));
        i = skip(text, skip(text, end) + 1);
      }
      const end = endOf(text, i);
      yield [key, new Value(text, i, end)];
      i = skip(text, end);
      if (text[i] === ",") i = skip(text, i + 1);
    }
  }

  /** Returns the values of an object's fields by their names. */
  fields() {
    return new Map(this.kind === "object" ? this.entries() : []);
  }
}

const deepest = 40; // lines are not indented further, or deep values would be mostly white space

/** Returns a value as JSON with line breaks. */
export function pretty(value) {
  const token = /"|[[\]{}]|,|:|[^\s,:[\]{}"]+/g;
  const { text } = value;
  const out = [];
  let depth = 0;
  const line = () => out.push("\n", "  ".repeat(Math.min(depth, deepest)));
  token.lastIndex = value.start;
  for (let m; token.lastIndex < value.end && (m = token.exec(text));) {
    const [t] = m;
    if (t === '"') {
      const end = endOfString(text, m.index);
      out.push(JSON.stringify(JSON.parse(text.slice(m.index, end))));
      token.lastIndex = end;
    } else if (t === "{" || t === "[") {
      out.push(t);
      const next = skip(text, token.lastIndex);
      if (text[next] === "}" || text[next] === "]") {
        out.push(text[next]);
        token.lastIndex = next + 1;
      } else {
        depth++;
        line();
      }
    } else if (t === "}" || t === "]") {
      depth--;
      line();
      out.push(t);
    } else if (t === ",") {
      out.push(t);
      line();
    } else {
      out.push(t === ":" ? ": " : t);
    }
  }
  return out.join("");
}
