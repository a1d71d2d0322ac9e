// The view of all units: a list by the feature that each follows, the text in the colors of one, a map of all.
const UNITS = layers.length * H, BINS = 40, MAP_TOP = 20;
const placeOf = (unit) => ({ layer: Math.floor(unit / H), unit: unit % H });
const best = correlations.map((_, unit) => follows(unit));
const occurs = features.map((_, f) => correlations.some((rs) => rs[f] !== 0));
const scaleOf = (unit) => page.units.scales[unit] || 1;

/** The activation of a unit after symbol t; undefined where the text is not read yet. */
const activation = (unit, t) => view.reading.states[t]?.[Math.floor(unit / H)].h[unit % H];

const unitText = new TextView(at("unit-text"), (span, piece) => {
  shade(span, (activation(numberOf(view.unit), piece.end - 1) ?? 0) / scaleOf(numberOf(view.unit)));
}, (t) => { view.t = t; drawMap(); });

function drawUnits() {
  if (isHidden("units")) return;
  const { reading } = view;
  unitText.show(reading);
  listUnits();
  let drawn = 0;
  workThrough("units", (deadline) => reading.reach(reading.ids.length - 1, deadline), (finished) => {
    if (!finished && performance.now() - drawn < 500) return;
    drawn = performance.now();
    describeUnit();
    drawMap();
  });
}

/** Sorts the list by the chosen feature; "memory": by the best feature, only units for which it needs a memory. */
function listUnits() {
  const sorting = at("feature").value, any = sorting === "any" || sorting === "memory";
  const shownOf = (unit) => (any ? named(unit) : { name: features[sorting][0], r: correlations[unit][sorting] });
  const units = Array.from({ length: UNITS }, (_, unit) => unit)
    .filter((unit) => sorting !== "memory" || features[groupOf(unit)]?.[2])
    .sort((a, b) => Math.abs(shownOf(b).r) - Math.abs(shownOf(a).r));
  at("unit-list").replaceChildren(...units.map((unit) => {
    const { name, r } = shownOf(unit);
    const item = make("li", { id: `unit-${unit}`, role: "option" },
      make("span", { textContent: unitName(placeOf(unit)) }), make("span", { textContent: name }), colored(r));
    return Object.assign(item, { unit });
  }));
  markListed();
}

function markListed() {
  at("unit-list").querySelector("[aria-selected=true]")?.removeAttribute("aria-selected");
  const item = at(`unit-${numberOf(view.unit)}`);
  item?.setAttribute("aria-selected", true);
  item?.scrollIntoView({ block: "nearest" });
  at("unit-list").setAttribute("aria-activedescendant", item?.id ?? "");
}

function chooseUnit(unit) {
  view.unit = placeOf(unit);
  markListed();
  describeUnit();
  drawMap();
}

function describeUnit() {
  const unit = numberOf(view.unit), rs = correlations[unit], { reading } = view;
  at("chosen-unit").textContent = unitName(view.unit).replace("unit", "Unit");
  const most = largest(rs, 6).filter((f) => occurs[f]);
  at("correlations").replaceChildren(...most.map((f) => {
    const bar = make("i", { className: rs[f] < 0 ? "less" : "more" });
    bar.style.width = `${100 * Math.abs(rs[f])}%`;
    return make("tr", {}, make("th", { scope: "row", textContent: features[f][0], title: features[f][1] }),
      make("td", { className: "room" }, bar), make("td", {}, colored(rs[f])));
  }));
  const values = reading.states.map((state) => state[view.unit.layer].h[view.unit.unit]);
  const flat = values.filter((h) => (relu ? h <= 0 : Math.abs(h) > page.units.saturated)).length / (values.length || 1);
  const state = relu ? "Zero" : `Saturated (|h| above ${page.units.saturated})`;
  at("flat").textContent = `${state} for ${percent(flat, 0)} of the text.`;
  drawHistogram(values);
  unitText.redraw();
}

function drawHistogram(values) {
  const canvas = at("histogram"), width = canvas.parentElement.clientWidth, height = 70;
  const high = relu ? Math.max(...values, 0) || 1 : 1, low = relu ? 0 : -1, counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((BINS * (value - low)) / (high - low)))]++;
  const context = pen(canvas, width, height), most = Math.max(...counts), bin = width / BINS;
  counts.forEach((count, k) => {
    const size = height * Math.sqrt(count / most);
    context.fillStyle = palette[low + ((k + 0.5) * (high - low)) / BINS < 0 ? 0 : 200];
    context.fillRect(k * bin, height - size, bin - 1, size);
  });
  at("limits").replaceChildren(...[low, high].map((limit) => make("span", {}, limit ? signed(limit) : "0")));
}

/** The feature of a unit; features.length for a unit that follows none, such as one that never fires. */
const groupOf = (unit) => (Math.abs(best[unit].r) < WEAK ? features.length : best[unit].feature);
const named = (unit) => ({ r: best[unit].r, name: features[groupOf(unit)]?.[0] ?? "none of these" });
const ordered = Array.from({ length: UNITS }, (_, unit) => unit)
  .sort((a, b) => groupOf(a) - groupOf(b) || best[b].r - best[a].r);
const map = {};

/** Draws all units over the line of symbol t, a row each, grouped by the feature that they follow best. */
function drawMap() {
  const { reading } = view, canvas = at("map"), line = unitText.lineOf(view.t);
  if (!line) return;
  unitText.lines.forEach((other) => other.classList.toggle("mapped", other === line));
  const width = canvas.parentElement.clientWidth, most = Math.max(24, Math.floor(width / 7));
  const first = line.first + Math.floor((view.t - line.first) / most) * most, end = Math.min(line.end, first + most);
  const height = Math.max(1, Math.min(14, Math.floor(640 / UNITS))), column = Math.min(24, width / (end - first));
  Object.assign(map, { first, end, height, column });
  const context = pen(canvas, width, MAP_TOP + UNITS * height);
  context.font = `${Math.min(14, column * 1.5)}px ${MONO}`;
  context.textAlign = "center";
  context.fillStyle = ink;
  for (let t = first; t < end; t++) {
    const sign = signOf(reading.ids[t]);
    if (sign !== "␣" && sign.length < 3) context.fillText(sign, (t - first + 0.5) * column, 14);
  }
  ordered.forEach((unit, i) => {
    for (let t = first; t < end; t++) {
      context.fillStyle = colorOf((activation(unit, t) ?? 0) / scaleOf(unit));
      context.fillRect(Math.floor((t - first) * column), MAP_TOP + i * height, Math.ceil(column), height);
    }
  });
  context.strokeStyle = ink;
  const chosen = MAP_TOP + ordered.indexOf(numberOf(view.unit)) * height;
  context.strokeRect(0.5, chosen - 1, (end - first) * column - 1, height + 2);
  const groups = [...new Set(ordered.map(groupOf))];
  at("groups").replaceChildren(...groups.map((group) => {
    const rows = ordered.filter((unit) => groupOf(unit) === group).length * height;
    const name = features[group]?.[0] ?? "none of these";
    const label = make("div", { textContent: rows < 15 ? "" : name, title: name });
    label.style.height = `${rows}px`;
    return label;
  }));
}

function startUnits() {
  const option = (value, textContent) => make("option", { value, textContent });
  const group = (label, memory) => make("optgroup", { label }, ...features.flatMap(([name, , needs], f) =>
    (needs === memory && occurs[f] ? [option(f, name)] : [])));
  const remembering = best.some((_, unit) => features[groupOf(unit)]?.[2]);
  at("feature").append(...(remembering ? [option("memory", "strongest feature, units that remember")] : []),
    option("any", "strongest feature, all units"), group("Features that need a memory", true),
    group("Features of the character just read", false));
  at("feature").addEventListener("change", listUnits);
  at("unit-list").addEventListener("click", ({ target }) => {
    const item = target.closest("li");
    if (item) chooseUnit(item.unit);
  });
  at("unit-list").addEventListener("keydown", (event) => {
    const items = [...at("unit-list").children], i = items.findIndex((item) => item.unit === numberOf(view.unit));
    const move = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    chooseUnit(items[Math.max(0, Math.min(items.length - 1, i + move))].unit);
  });
  at("unit-text").addEventListener("keydown", (event) => {
    const move = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const next = move && unitText.lines[unitText.lines.indexOf(unitText.lineOf(view.t)) + move];
    if (!next) return;
    event.preventDefault();
    view.t = next.first;
    drawMap();
    next.scrollIntoView({ block: "nearest" });
  });
  at("map").addEventListener("click", ({ offsetX, offsetY }) => {
    const i = Math.floor((offsetY - MAP_TOP) / map.height), t = map.first + Math.floor(offsetX / map.column);
    if (i < 0 || i >= UNITS || t >= map.end) return;
    view.t = t;
    chooseUnit(ordered[i]);
  });
  at("measured").textContent = page.units.measured;
}
