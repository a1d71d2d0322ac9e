// The equation as a picture: a grid of cells for each of its terms, and bars for the characters that may come next.
const NUMBERS_UP_TO = 16, GRIDS_UP_TO = 1024; // hidden units: cells show their numbers; grids are drawn at all
const SHOWN_BARS = 12;
const inNumbers = H <= NUMBERS_UP_TO, hasGrids = H <= GRIDS_UP_TO;
const digits = inNumbers ? 3 : 2;
const columns = inNumbers ? Math.min(4, H) : Math.ceil(Math.sqrt(2 * H));
const gridRows = Math.ceil(H / columns);
// The grids of a plain layer fit beside the bars where the window is wide; in a narrow one they swipe.
const gridWidth = !elman ? 120 : innerWidth < 900 ? 256 : Math.min(256, (innerWidth - 500) / 3);
const side = Math.max(4, Math.min(24, Math.floor(gridWidth / columns)));
const cell = inNumbers ? { width: 64, height: 30 } : { width: side, height: side };
const CANDIDATE = { elman: "h", gru: "n", lstm: "g" }[settings.cell]; // the index of its weights
const phi = elman ? (relu ? "ReLU" : "tanh") : "tanh";
// Full color is a high quantile of |h| over the units of a layer: a single strong unit must not pale the others.
const fullColor = layers.map((_, layer) => quantile(page.units.scales.slice(layer * H, (layer + 1) * H), 0.9) || 1);

/** The terms of the equation of a layer: name, formula, and the sign before the grid. */
function termsOf(layer) {
  const summed = layer > 1 && settings.residual; // a layer reads the sum of all below it
  const below = summed ? "the layers below say" : layer ? "the layer below says" : "the character says";
  const x = summed ? `(h_t of layers 0 to ${layer - 1})` : layer ? `h_t of layer ${layer - 1}` : "x_t", k = CANDIDATE;
  const gate = (key, title, words) => ({ key, title, formula: words, before: "", unit: true });
  const terms = [
    { key: "character", title: `What ${below}`, formula: `W_x${k} ${x} + b_${elman ? "" : "x"}${k}`, before: "" },
    { key: "memory", title: "What the memory says", before: "+",
      formula: { gru: "r (W_hn h_{t−1} + b_hn)", lstm: "W_hg h_{t−1} + b_hg" }[settings.cell] ?? "W_hh h_{t−1}" },
  ];
  if (settings.cell === "gru") terms.push(gate("r", "Reset gate r", "how much memory enters"),
    { key: "n", title: "Candidate n", formula: "tanh( … )", before: "→" },
    gate("z", "Update gate z", "how much old state stays"));
  if (settings.cell === "lstm") terms.push({ key: "g", title: "Candidate g", formula: "tanh( … )", before: "→" },
    gate("i", "Input gate i", "how much of g enters"), gate("f", "Forget gate f", "how much old c stays"),
    { key: "c", title: "Cell c", formula: "f c_{t−1} + i g", before: "→" },
    gate("o", "Output gate o", "how much of c shows"));
  const result = { gru: "(1 − z) n + z h_{t−1}", lstm: "o tanh(c_t)" }[settings.cell] ?? `${phi}( … )`;
  const before = elman ? `${phi} →` : "→";
  return [...terms, { key: "h", title: "The new state", formula: `h_t = ${result}`, before }];
}

/** Draws one value a unit. */
function drawCells(canvas, values, scale, width, height, marked) {
  const context = pen(canvas, columns * width, gridRows * height), gap = width < 6 ? 0.5 : 1;
  context.font = `13px ${MONO}`;
  context.textAlign = "center";
  values.forEach((value, unit) => {
    const x = (unit % columns) * width, y = Math.floor(unit / columns) * height;
    context.fillStyle = colorOf(value / scale);
    context.fillRect(x, y, width - gap, height - gap);
    if (!inNumbers || width < 40) return;
    context.fillStyle = inkOn(value / scale);
    context.fillText(signed(value, digits), x + width / 2, y + height / 2 + 5);
  });
  if (marked === undefined) return;
  context.strokeStyle = ink;
  context.lineWidth = 2;
  context.strokeRect((marked % columns) * width, Math.floor(marked / columns) * height, width - 1, height - 1);
}

/** Lets people point at a unit of a canvas by mouse, touch or arrow keys; a click or Enter holds it. */
function pointable(canvas, layer) {
  const unitAt = ({ offsetX, offsetY }) => {
    const column = Math.floor(offsetX / cell.width), unit = Math.floor(offsetY / cell.height) * columns + column;
    return column >= 0 && column < columns && unit >= 0 && unit < H ? unit : null;
  };
  Object.assign(canvas, { tabIndex: 0, role: "img" });
  canvas.addEventListener("pointermove", (event) => {
    // While a unit is held, its card stays, so that the mouse can reach the slider.
    const free = event.pointerType === "mouse" && !view.reading.hold;
    if (free && unitAt(event) !== null) pointAt({ layer, unit: unitAt(event) });
  });
  canvas.addEventListener("click", (event) => {
    const unit = unitAt(event), known = view.unit.layer === layer && view.unit.unit === unit;
    if (unit === null) return;
    pointAt({ layer, unit });
    if (known) toggleHold();
  });
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) pointAt({ ...view.unit, layer }); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (event.key === "Enter" || event.key === " ") toggleHold();
    else if (move) pointAt({ layer, unit: Math.max(0, Math.min(H - 1, view.unit.unit + move)) });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

const grids = hasGrids ? layers.map((_, layer) => termsOf(layer).map((term) => {
  const canvas = make("canvas");
  pointable(canvas, layer);
  return { ...term, canvas };
})) : [];

const on = make("span"); // how many ReLU units are on

function buildEquation() {
  const className = elman ? "layer" : "layer gated", width = Math.max(columns * cell.width, 120);
  at("layers").replaceChildren(...grids.map((terms, layer) => make("div", { className },
    ...(layers.length > 1 ? [make("h3", { textContent: `Layer ${layer}` })] : []),
    ...terms.map(({ key, title, formula: words, before, canvas }) => {
      const caption = make("figcaption", {}, make("b", { textContent: title }), formula(words));
      if (relu && key === "h" && layer === layers.length - 1) caption.lastChild.append(on);
      const figure = make("figure", { id: `${key}-${layer}`, style: `width: ${width}px` }, caption, canvas);
      const sign = make("span", { className: "sign", textContent: before });
      sign.style.lineHeight = `${gridRows * cell.height}px`;
      return make("div", { className: "term" }, ...(before ? [sign] : []), figure);
    }))));
  if (!hasGrids) at("layers").append(make("p", { className: "faint",
    textContent: `The state has ${number(H)} units a layer: too many to draw (at most ${number(GRIDS_UP_TO)}).` }));
  at("unrolled").hidden = !hasGrids;
}

function drawEquation() {
  const { parts } = view;
  grids.forEach((terms, layer) => terms.forEach(({ key, title, canvas, unit }) => {
    const marked = view.unit.layer === layer ? view.unit.unit : undefined;
    drawCells(canvas, parts[layer][key], unit ? 1 : fullColor[layer], cell.width, cell.height, marked);
    const value = marked === undefined ? "" : `; ${unitName(view.unit)}: ${signed(parts[layer][key][marked])}`;
    canvas.setAttribute("aria-label", `${title}, layer ${layer}${value}. Arrow keys choose a unit, Enter holds it.`);
  }));
  if (relu) on.textContent = `, ${parts.at(-1).h.reduce((count, h) => count + (h > 0), 0)} of ${number(H)} on`;
}

/** Lets the new state slide into the place of the memory: the recurrence. */
function slide() {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const terms of grids) {
    const { canvas } = terms.at(-1), place = terms[1].canvas;
    const ghost = make("canvas", { className: "ghost", width: canvas.width, height: canvas.height });
    ghost.getContext("2d").drawImage(canvas, 0, 0);
    Object.assign(ghost.style, { width: canvas.style.width, height: canvas.style.height,
      left: `${canvas.offsetLeft}px`, top: `${canvas.offsetTop}px` });
    canvas.closest(".layer").append(ghost);
    const to = `translate(${place.offsetLeft - canvas.offsetLeft}px, ${place.offsetTop - canvas.offsetTop}px)`;
    ghost.animate([{ opacity: 1 }, { transform: to, opacity: 0.8, offset: 0.7 }, { transform: to, opacity: 0 }],
      { duration: 420, easing: "ease-in-out" }).finished.then(() => ghost.remove());
  }
}

/** The same step again and again over the last characters. */
function drawUnrolled() {
  if (!hasGrids) return;
  const { reading, t } = view, width = Math.max(2, Math.min(inNumbers ? 20 : 12, Math.floor(96 / columns)));
  const fit = Math.floor(widthOf(at("steps")) / (Math.max(columns * width, 56) + 44));
  const first = Math.max(0, t + 1 - Math.max(3, Math.min(8, fit)));
  const steps = Array.from({ length: t - first + 1 }, (_, i) => first + i).map((s) => {
    const guess = s === t ? view.best : reading.logits(s).reduce((best, y, id, all) => y > all[best] ? id : best, 0);
    const states = layers.map((_, layer) => {
      const canvas = make("canvas");
      drawCells(canvas, reading.states[s][layer].h, fullColor[layer], width, width);
      return canvas;
    });
    const button = make("button", { className: s === t ? "now" : "", title: "Go to this step" },
      make("span", { className: "faint" }, "guess ", symbol(guess)), ...states.reverse(),
      make("span", {}, symbol(reading.ids[s])));
    button.addEventListener("click", () => go(s));
    return [make("span", { className: "sign", textContent: "→" }), button];
  });
  at("steps").replaceChildren(...steps.flat());
  if (fit < 3) at("steps").scrollLeft = 1e4; // to the last one
}

const bars = Array.from({ length: Math.min(SHOWN_BARS, V) }, () => {
  const [name, bar, p] = [make("kbd"), make("i"), make("span")];
  const button = make("button", { className: "bar" }, name, make("span", { className: "room" }, bar), p);
  button.addEventListener("pointerenter", ({ pointerType }) => { if (pointerType === "mouse") choose(button.symbol); });
  button.addEventListener("focus", () => { if (button.matches(":focus-visible")) choose(button.symbol); });
  button.addEventListener("click", () => {
    if (view.chosen === button.symbol) write(button.symbol); // on a touch screen, the first tap only points
    else choose(button.symbol);
  });
  return Object.assign(button, { sign: name, bar, share: p });
});

function drawBars() {
  const follows = view.reading.ids[view.t + 1];
  largest(view.p, bars.length, (p) => p).forEach((id, i) => {
    const { sign, bar, share } = Object.assign(bars[i], { symbol: id });
    sign.textContent = signOf(id);
    bar.style.width = percent(view.p[id], 2).replace(" ", "");
    share.textContent = percent(view.p[id]);
    bars[i].classList.toggle("follows", id === follows);
    bars[i].setAttribute("aria-pressed", id === view.chosen);
    const mark = id === follows ? ", it follows in the text" : "";
    bars[i].setAttribute("aria-label", `${signOf(id)}, ${percent(view.p[id])}${mark}`);
  });
}
