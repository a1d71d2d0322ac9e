// A text: symbols and ids, the states that the network has along it, and how it is shown.
const bytewise = settings.level === "byte";
const characters = settings.characters.map((code) => String.fromCodePoint(code));
const idOf = new Map(characters.map((character, id) => [character, id]));
const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
const LINE_END = idOf.get("\n") ?? -1;

/** Returns the ids of a text that somebody typed or pasted, and the characters that the network does not know. */
function encode(text) {
  if (page.facts.newlines === "lf") text = text.replace(/\r\n?/g, "\n");
  if (page.facts.normalize) text = text.normalize(page.facts.normalize);
  const bytes = () => Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte));
  const symbols = bytewise ? bytes() : Array.from(text);
  const ids = symbols.map((symbol) => idOf.get(symbol) ?? settings.unknown);
  return { ids: ids.filter((id) => id >= 0), unknown: [...new Set(symbols.filter((symbol, i) => ids[i] < 0))] };
}

/** Returns a function that takes ids one by one and returns the text that each completes. */
function decoder() {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  return bytewise ? (id) => utf8.decode(Uint8Array.of(id), { stream: true }) : (id) => characters[id];
}

/** The name of a symbol in a sentence: visible, also for a space. */
const signOf = (id) => page.signs[id];

/** Returns the number of bytes of the UTF-8 character that begins at `at`; 1 for a byte that begins none. */
function utf8Length(ids, at) {
  const size = ids[at] < 0xc2 ? 1 : ids[at] < 0xe0 ? 2 : ids[at] < 0xf0 ? 3 : ids[at] < 0xf5 ? 4 : 1;
  for (let i = 1; i < size; i++) if (!(ids[at + i] >= 0x80 && ids[at + i] < 0xc0)) return 1;
  return size;
}

/** Splits symbols into what a reader sees as one character: { start, end, text }, a symbol number and a text each. */
function pieces(ids, from, to) {
  const units = [];
  for (let i = from, size; i < to; i += size) {
    size = bytewise ? Math.min(utf8Length(ids, i), to - i) : 1;
    const text = size > 1 ? new TextDecoder().decode(Uint8Array.from(ids.slice(i, i + size))) : characters[ids[i]];
    const alone = text === "\r" || (bytewise && size === 1 && ids[i] > 127); // not one character with its neighbors
    units.push({ start: i, end: i + size, text: alone ? signOf(ids[i]) : text, whole: size === 1 });
  }
  const starts = new Map();
  let joined = "";
  units.forEach((unit, i) => { starts.set(joined.length, i); joined += unit.text; });
  const found = [];
  let last = null;
  for (const { index } of segmenter.segment(joined)) if (starts.has(index)) found.push(starts.get(index));
  return found.map((first, k) => {
    last = (found[k + 1] ?? units.length) - 1;
    const symbols = units.slice(first, last + 1), text = symbols.map((unit) => unit.text).join("");
    const single = symbols.length === 1 && symbols[0].whole;
    const { start } = symbols[0];
    return { start, end: symbols.at(-1).end, text: single ? shown(ids[start], text) : text };
  });
}

/** A single symbol in the text: a line end, a tab and invisible characters get a sign, a space needs none. */
const shown = (id, text) => /[\n\t]/.test(text) ? signOf(id) + text : /^\p{Zs}$/u.test(text) ? text : signOf(id);
const isSign = (text) => /^([↵⇥]\s|⇤|U\+|0x[89A-F])/.test(text);

/** The text with its states, which are computed when they are needed. With `window` they restart from zero. */
class Reading {
  constructor(ids, window = null) {
    this.ids = ids.slice(0, page.most); // more states do not fit into memory
    Object.assign(this, { window, states: [], costs: [], parts: new Map(), zero: zeroState(), hold: null });
  }

  startsAt(t) { return t === 0 || (this.window !== null && t % this.window === 0); }

  /** The state before symbol t is read; call `reach` first. */
  before(t) { return this.startsAt(t) ? this.zero : this.states[t - 1]; }

  holdAt(t) { return this.hold && t >= this.hold.from ? this.hold : null; }

  /** All parts of the step at t; the last ones are kept, for going back through gates. */
  step(t) {
    if (this.parts.size > 300) this.parts.clear();
    if (!this.parts.has(t)) this.parts.set(t, step(this.ids[t], this.before(t), this.holdAt(t)));
    return this.parts.get(t);
  }

  /** Reads up to symbol t, or until the time is over; returns whether it got there. */
  reach(t, deadline = Infinity) {
    while (this.states.length <= t) {
      if (performance.now() > deadline) return false;
      this.states.push(this.step(this.states.length).map(({ h, c }) => ({ h, c })));
    }
    return true;
  }

  logits(t) {
    this.reach(t);
    return logitsOf(this.states[t]);
  }

  /** The surprisal of symbol t in bits; the first symbol is given. */
  cost(t) {
    if (t > 0) this.costs[t] ??= -Math.log2(softmax(this.logits(t - 1))[this.ids[t]]);
    return t > 0 ? this.costs[t] : 0;
  }

  splice(at, remove, ...ids) {
    this.ids.splice(at, remove, ...ids);
    this.ids.length = Math.min(this.ids.length, page.most);
    this.forget(at);
  }

  /** Holds a unit at a value from position t on, or with null releases it. */
  setHold(hold) {
    const from = Math.min(this.hold?.from ?? Infinity, hold?.from ?? Infinity);
    this.hold = hold;
    this.forget(from);
  }

  forget(from) {
    this.parts.clear();
    this.states.length = Math.min(this.states.length, from);
    this.costs.length = Math.min(this.costs.length, from);
  }

  lineStart(t) {
    while (t > 0 && this.ids[t - 1] !== LINE_END) t--;
    return t;
  }

  lineEnd(t) {
    while (t < this.ids.length - 1 && this.ids[t] !== LINE_END) t++;
    return Math.min(t + 1, this.ids.length);
  }
}

/** Continues a prompt, as scripts/generate.py does with the same random numbers. */
function generate(prompt, length, temperature, uniform = Math.random) {
  const { ids } = encode(prompt), text = decoder();
  const reading = new Reading(ids);
  let written = "";
  for (let n = 0; n < length; n++) {
    const id = sample(reading.logits(reading.ids.length - 1), temperature, uniform());
    written += text(id);
    reading.splice(reading.ids.length, 0, id);
  }
  return prompt + written;
}
