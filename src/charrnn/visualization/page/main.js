// The page as a whole: tabs, the text that all of them share, and what is known about the network.
const TABS = { step: drawStep, score: drawScore, units: drawUnits };
const HEADINGS = {
  step: "One step of a recurrent network", score: "How surprising each character is", units: "What the hidden units do",
};

function isHidden(name) { return at(name).hidden; }

function openTab(name) {
  toggleWriting(false);
  for (const other of Object.keys(TABS)) {
    at(other).hidden = other !== name;
    at(`tab-${other}`).setAttribute("aria-selected", other === name);
    at(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  at("heading").textContent = HEADINGS[name];
  if (name === "step") go(view.t); else TABS[name]();
}

/** Reads another text from its beginning. */
function read(text) {
  const { ids, unknown } = encode(text);
  at("refused").textContent = ids.length ? "" : "The network knows none of these characters.";
  if (!ids.length) return;
  view.reading = new Reading(ids);
  view.t = Math.min(ids.length - 1, isHidden("score") ? 40 : 1);
  at("source").textContent = "your text";
  at("metrics").replaceChildren();
  const count = view.reading.ids.length;
  const cut = count < ids.length && `Only the first ${number(count)} characters are shown.`;
  at("note").textContent = [leftOut(unknown), cut].filter(Boolean).join(". ");
  openTab(Object.keys(TABS).find((name) => !isHidden(name)));
}

function describePage() {
  const equations = {
    elman: `h_t = ${phi}(W_xh x_t + W_hh h_{t−1} + b_h)`,
    gru: "h_t = (1 − z) n + z h_{t−1},   n = tanh(W_xn x_t + b_xn + r (W_hn h_{t−1} + b_hn))",
    lstm: "h_t = o tanh(c_t),   c_t = f c_{t−1} + i tanh(W_xg x_t + b_xg + W_hg h_{t−1} + b_hg)",
  };
  at("equation").replaceWith(formula(`${equations[settings.cell]},   y_t = W_hy h_t + b_y`));
  const { facts } = page, count = Object.values(weights).reduce((sum, values) => sum + values.length, 0);
  at("numbers-count").textContent = number(count);
  const bits = facts.val_bits_per_char;
  const about = [["network", facts.network], ["vocabulary", `${V} ${bytewise ? "bytes" : "characters"}`],
    ...(facts.checkpoint ? [["checkpoint", facts.checkpoint]] : []),
    ...(bits ? [["validation split", `${number(bits, 3)} bits per character`]] : []), ...(facts.about ?? []),
    ["weights", Object.values(page.weights).some(({ integers }) => integers) ? "rounded to 16 bits" : "32 bits"]];
  at("about").append(...entries(about));
  at("source").textContent = facts.text;
  document.title = facts.title;
}

function start() {
  readColors();
  view.reading = new Reading(page.ids, page.window);
  view.unit = placeOf(lineUnit.unit);
  view.t = page.tab === "score" ? Math.min(1, page.ids.length - 1) : inLongLine(40);
  describePage();
  startStep();
  buildNumbers();
  startScore();
  startUnits();
  startWalk();
  buildCharts();
  const names = Object.keys(TABS);
  names.forEach((name, i) => {
    at(`tab-${name}`).addEventListener("click", () => openTab(name));
    at(`tab-${name}`).addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const other = names[(i + move + names.length) % names.length];
      openTab(other);
      at(`tab-${other}`).focus();
    });
  });
  at("read").addEventListener("click", () => read(at("other").value));
  const redraw = () => {
    readColors();
    widths.clear();
    drawStep();
    if (isHidden("units")) return;
    describeUnit();
    drawMap();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  openTab(page.tab);
}
start();
