// Elements, numbers and colors, for all views.
const at = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
function signed(value, digits = 2) {
  const rounded = Number(value.toFixed(digits)) || 0; // no minus before a zero
  return (rounded > 0 ? "+" : "") + number(rounded, digits);
}

const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)} %`;

/** A signed number in the color of its sign. */
const colored = (value, digits = 2) =>
  make("b", { className: value < 0 ? "less" : "more", textContent: signed(value, digits) });

/** A text with the indices of its symbols set low: W_xh, h_{t−1}. */
const withIndices = (text) => text.split(/(_\{[^}]*\}|_\w+)/).map((part) =>
  (part.startsWith("_") ? make("sub", { textContent: part.replace(/[_{}]/g, "") }) : part));
const formula = (text) => make("code", {}, ...withIndices(text));

/** A sentence with elements, or lists of them, in it: the tag of a template. A line break counts as a space. */
const say = (strings, ...values) =>
  strings.flatMap((words, i) => [...withIndices(words.replace(/\s+/g, " ")), ...[values[i] ?? ""].flat()]);

/** The entries of a list of names and values. */
const entries = (pairs = []) => pairs.map(([name, value]) =>
  make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })));

/** A symbol in a sentence. */
const symbol = (id) => make("kbd", { textContent: signOf(id) });

/** The name of a unit, as everywhere in the project: both numbers start at 0. */
const unitName = ({ layer, unit }) => settings.layers > 1 ? `unit ${unit} of layer ${layer}` : `unit ${unit}`;

function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : 0;
}

/** The indices of the largest values by `size`, largest first. */
const largest = (values, count, size = Math.abs) =>
  Array.from(values, (_, i) => i).sort((i, j) => size(values[j]) - size(values[i])).slice(0, count);

/** Joins elements and words to a list with commas. */
const list = (items) => items.flatMap((item, i) => i ? [", ", ...item] : item);

let palette = [], light = [], ink = "", faint = "";

/** Reads the colors of the page: blue below zero, orange above, in 100 shades each. */
function readColors() {
  const style = getComputedStyle(document.documentElement), read = (name) => style.getPropertyValue(name).trim();
  const [minus, zero, plus] = ["--minus", "--zero", "--plus"].map((name) => read(name).split(" ").map(Number));
  const mixed = (end, share) => `rgb(${zero.map((from, i) => Math.round(from + share * (end[i] - from))).join(" ")})`;
  palette = Array.from({ length: 201 }, (_, i) => mixed(i < 100 ? minus : plus, Math.abs(i - 100) / 100));
  light = palette.map((color) => luminance(color.match(/\d+/g)) > 0.18); // as far from black as from white
  [ink, faint] = [read("--ink"), read("--faint")];
}

/** The luminance of a color as WCAG defines it, from 0 to 1. */
const luminance = (rgb) => dot([0.2126, 0.7152, 0.0722],
  rgb.map((value) => (value > 10 ? ((value / 255 + 0.055) / 1.055) ** 2.4 : value / 3294.6)));

const shadeOf = (share) => 100 + Math.round(100 * Math.max(-1, Math.min(1, share || 0)));
const colorOf = (share) => palette[shadeOf(share)];
/** The color of a number on a cell: black or white, which has the higher contrast. */
const inkOn = (share) => (light[shadeOf(share)] ? "#000" : "#fff");

/** Gives a piece of text the color of a share from -1 to 1. */
function shade(span, share) {
  const signed = Math.round(20 * Math.max(-1, Math.min(1, share))) * 5, k = Math.abs(signed);
  if ((span.share ?? 0) === signed) return; // most stay as they are
  span.share = signed;
  span.style.setProperty("--k", `${k}%`);
  span.classList.toggle("more", signed > 0);
  span.classList.toggle("less", signed < 0);
}

/** Prepares a canvas of the given size in CSS pixels, and returns what draws on it. */
function pen(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1, [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const widths = new Map();

/** The width inside an element, measured once for each width of the window: measuring costs a layout of the page. */
function widthOf(element) {
  if (!widths.get(element)) widths.set(element, element.clientWidth);
  return widths.get(element);
}

const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/**
 * Draws bars along the end of a text, above or below a line at zero, with the signs of the symbols below. `scale` is
 * the value of a full bar; where all values are smaller, it shrinks, at most to a quarter.
 */
function drawTrack(canvas, from, ids, scale, valueOf) {
  const width = widthOf(canvas.parentElement), height = 62;
  const first = Math.max(from, ids.length - Math.min(90, Math.floor(width / 6)));
  ids = ids.slice(first);
  const values = ids.map((_, i) => valueOf(first + i)), low = values.some((value) => value < 0);
  scale = Math.max(scale / 4, Math.min(scale, Math.max(...values.map(Math.abs))));
  const context = pen(canvas, width, height), column = Math.min(18, width / values.length), zero = low ? 24 : 46;
  context.font = `${Math.min(13, column * 1.5)}px ${MONO}`;
  context.textAlign = "center";
  values.forEach((value, i) => {
    const size = Math.max(-1, Math.min(1, value / scale)) * (low ? 22 : 44);
    context.fillStyle = palette[value < 0 ? 0 : 200];
    const drawn = Math.max(value ? 1 : 0, Math.abs(size));
    context.fillRect(i * column, Math.min(zero, zero - size), Math.max(1, column - 1), drawn);
    context.fillStyle = faint;
    const sign = signOf(ids[i]);
    if (sign.length < 3) context.fillText(sign === "␣" ? "" : sign, (i + 0.5) * column, height - 2);
  });
}

/**
 * A text whose lines are colored when they come near the viewport. `paint` colors the span of a piece; `choose` is
 * called with the number of the piece's last symbol.
 */
class TextView {
  static LONGEST_LINE = 600;

  constructor(element, paint, choose) {
    Object.assign(this, { element, paint, lines: [] });
    this.observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
      target.near = isIntersecting;
      if (isIntersecting) this.draw(target);
    }), { rootMargin: "800px" });
    element.addEventListener("click", ({ target }) => { if (target.piece) choose(target.piece.end - 1); });
  }

  show(reading) {
    const { ids } = this.reading = reading;
    this.observer.disconnect();
    this.lines = [];
    for (let first = 0, end; first < ids.length; first = end) {
      for (end = first + 1; end < ids.length && ids[end - 1] !== LINE_END; end++) {
        if (end - first >= TextView.LONGEST_LINE && !(bytewise && (ids[end] & 0xc0) === 0x80)) break;
      }
      const text = pieces(ids, first, end).map((piece) => piece.text).join("");
      this.lines.push(Object.assign(make("div", { textContent: text, dir: "auto" }), { first, end, spans: null }));
    }
    this.element.replaceChildren(...this.lines);
    this.lines.forEach((line) => this.observer.observe(line));
  }

  draw(line) {
    if (!line.spans) {
      line.spans = pieces(this.reading.ids, line.first, line.end).map(spanOf);
      line.replaceChildren(...line.spans);
    }
    line.spans.forEach((span) => this.paint(span, span.piece));
  }

  redraw() { this.lines.forEach((line) => line.near && this.draw(line)); }

  lineOf(t) { return this.lines.find((line) => t < line.end); }

  /** Marks the piece of symbol t and scrolls to it. */
  mark(t) {
    this.marked?.classList.remove("marked");
    const line = this.lineOf(t);
    if (!line) return;
    this.draw(line);
    this.marked = line.spans.find(({ piece }) => t < piece.end);
    this.marked.classList.add("marked");
    const box = this.marked.getBoundingClientRect(), outer = this.element.getBoundingClientRect();
    if (box.top < outer.top + 20 || box.bottom > outer.bottom - 20) {
      this.element.scrollTop += box.top - outer.top - this.element.clientHeight / 2;
    }
  }
}

function spanOf(piece) {
  const span = make("span", { textContent: piece.text });
  if (isSign(piece.text)) span.classList.add("sign");
  return Object.assign(span, { piece });
}
