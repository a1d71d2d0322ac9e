// Charts of the diagnostics, which are computed when the page is made.
const MOST_TICKS = 6; // of an axis

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function ticks(low, high, log) {
  if (log) {
    const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const decades = Math.max(0, last - first + 1), step = Math.ceil(decades / MOST_TICKS) || 1;
    return Array.from({ length: Math.ceil(decades / step) }, (_, i) => 10 ** (last - i * step));
  }
  const rough = (high - low || 1) / 5, unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5].find((factor) => factor * unit >= rough) ?? 10);
  const first = Math.ceil(low / step), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function chart({ title, note: words, x, y, series }) {
  const [W, height, left, right, upper, lower] = [440, 260, 60, 12, 10, 40];
  const points = series.flatMap((one) => one.points);
  const axis = ({ log }, side, from, to) => {
    const bend = log ? Math.log10 : Number;
    const values = points.map((point) => point[side]).filter((value) => !log || value > 0);
    const [low, high] = [Math.min(...values), Math.max(...values)], span = bend(high) - bend(low) || 1;
    return { scale: (value) => from + ((to - from) * (bend(value) - bend(low))) / span, ticks: ticks(low, high, log) };
  };
  const across = axis(x, 0, left, W - right), up = axis(y, 1, height - lower, upper);
  const isFar = (value) => value >= 1e4 || (value && Math.abs(value) < 1e-2);
  const plain = (value) => (isFar(value) ? value.toExponential(0).replace("-", "−") : `${value}`);
  const drawn = svg("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": title });
  for (const value of up.ticks) drawn.append(
    svg("line", { class: "grid", x1: left, x2: W - right, y1: up.scale(value), y2: up.scale(value) }),
    svg("text", { x: left - 6, y: up.scale(value) + 4, "text-anchor": "end" }, plain(value)));
  for (const value of across.ticks) drawn.append(
    svg("text", { x: across.scale(value), y: height - lower + 16, "text-anchor": "middle" }, plain(value)));
  series.forEach(({ name, points: own }, i) => {
    const seen = own.filter((point) => (!x.log || point[0] > 0) && (!y.log || point[1] > 0)), line = `line${i % 4}`;
    const level = upper + 8 + 16 * i, place = ([xValue, yValue]) => `${across.scale(xValue)},${up.scale(yValue)}`;
    drawn.append(svg("polyline", { class: line, points: seen.map(place).join(" ") }),
      svg("line", { class: line, x1: W - right - 130, x2: W - right - 116, y1: level, y2: level }),
      svg("text", { x: W - right - 110, y: level + 4 }, name));
  });
  const upright = `translate(12 ${(upper + height - lower) / 2}) rotate(-90)`;
  drawn.append(svg("text", { x: (left + W - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    svg("text", { transform: upright, "text-anchor": "middle" }, y.label));
  return make("figure", { className: "card" }, make("figcaption", {}, make("b", { textContent: title })),
    make("p", { className: "faint", textContent: words }), drawn);
}

function buildCharts() {
  const { diagnostics } = page.facts;
  at("diagnostics").hidden = !diagnostics;
  if (!diagnostics) return;
  at("numbers").append(...entries(diagnostics.metrics));
  at("charts").append(...diagnostics.charts.map(chart));
}
