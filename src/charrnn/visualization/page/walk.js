// The guided walk: eight cards, each of which sets the page to a place and explains what is seen there.
const walk = { card: null };
const lineUnit = mostFaithful();

/** The unit for the cards about counting: the one that follows the position in the line best, or else any memory. */
function mostFaithful() {
  const memory = features.map((_, f) => f).filter((f) => features[f][2]);
  const strongest = (f) => largest(correlations.map((rs) => rs[f]), 1)[0];
  const strength = (f) => Math.abs(correlations[strongest(f)][f]);
  const f = strength(0) >= 0.3 ? 0 : largest(memory.map(strength), 1).map((i) => memory[i])[0];
  return { unit: strongest(f), feature: f };
}

/** A symbol in the longest of the first lines, `column` characters into it; in a short text the last one. */
function inLongLine(column) {
  const { reading } = view, n = reading.ids.length, lines = [];
  if (n < 40) return n - 1;
  for (let first = 0; first < Math.min(n, 1500); first += lines.at(-1)[1]) lines.push([first, reading.lineEnd(first) -
      first]);
  const [first, length] = lines.reduce((one, other) => (other[1] > one[1] ? other : one));
  return Math.min(n - 1, first + Math.min(Math.max(0, length - 3), column));
}

/** The next line end after a place in a long line; without line ends, the next space or the place itself. */
function nextLineEnd() {
  const { ids } = view.reading, t = inLongLine(20), found = ids.indexOf(LINE_END, t);
  return LINE_END >= 0 && found >= 0 ? found : Math.max(t, ids.indexOf(idOf.get(" ") ?? -1, t));
}

const now = () => symbol(view.reading.ids[view.t]);
const strong = (textContent) => make("b", { textContent });
const theUnit = placeOf(lineUnit.unit), isUseful = Math.abs(correlations[lineUnit.unit][lineUnit.feature]) >= WEAK;
const theUnitName = () => strong(unitName(theUnit).replace("unit", "Unit"));
const valueAt = (t) => number(view.reading.states[t]?.[theUnit.layer].h[theUnit.unit] ?? 0, 2);

/** Each card: what it lights, the side where it leaves room, the place and unit that it goes to, and its text. */
const CARDS = [
  { title: "A character picks a column", lit: ["character-0"], place: () => inLongLine(20),
    text: () => say`The network reads one character at a time. It has just read ${now()}. Every character has a column
      of its own in the matrix W_xh: one number for each of the ${number(H)} units. The grid on the left is the column
      of ${now()}, plus a bias. Orange is above zero, blue below. (On paper it is W_xh times x_t, a list of zeros with
      a single 1.)` },
  { title: "The memory", lit: ["memory-0"], place: () => inLongLine(20),
    text: () => say`After the character before, the units had values too: the state h_{t−1}. This is all that the
      network remembers of the text. The matrix W_hh mixes it: every old unit pushes every new unit up or down. Press
      ${strong("step")} and watch the new state slide into the memory's place. This loop is the recurrence: the R of
      RNN.` },
  { title: "φ: the new state", lit: ["h-0"], place: () => inLongLine(20),
    text: () => say`The two grids are added, cell by cell, and each sum goes through ${elman ? "φ" : "tanh"}.
      ${phiInWords()} The result is the new state h_t, one value for each unit. Below, the same step again and again
      over the last characters: always the same matrices.` },
  { title: "The guess", lit: ["next"], place: () => inLongLine(20),
    text: () => say`Every unit speaks for some characters and against others; the numbers are in the matrix W_hy. The
      sum for each character is its score, the logit. Softmax turns scores into probabilities. Here the most likely
      next character is ${symbol(view.best)} with ${percent(view.p[view.best])}. A mark (◂) shows what follows in this
      text. Point at a bar to see why it is long or short.` },
  { title: "The draw", lit: ["controls"], place: () => inLongLine(20),
    text: () => say`To write, the network draws a character, as with a loaded die: the bars are the chances. Then it
      reads what it drew. That is all. The temperature changes the die: near 0 the longest bar always wins, above 1
      the chances get more even. Press ${strong("write")}, at 0.3 and at 1.5.` },
  { title: "A unit that remembers", lit: ["unit-card"], side: "right", place: () => inLongLine(40), unit: theUnit,
    text: () => (isUseful ? say`${theUnitName()} follows “${features[lineUnit.feature][0]}”
      (${features[lineUnit.feature][1]}), r = ${signed(correlations[lineUnit.unit][lineUnit.feature])}. Nobody told it
      to: it helps to guess. Its track shows its value along the text, and “The memory's part” names the old units that
      keep it going. Hold it at another value and watch the bars change.`
      : say`No unit of this network follows a simple feature of the text. ${theUnitName()} shows what is known of
      each: its sum in numbers, the old units that made it, and what it speaks for. Hold it at another value and watch
      the bars change.`) },
  { title: page.ids.includes(LINE_END) ? "What a line end does" : "What one character does", lit: ["h-0"],
    place: nextLineEnd, unit: theUnit,
    text: () => say`Now the network has read ${now()}. It is a character like any other, but its column in W_xh can
      push down what was counted before. ${theUnitName()} goes from ${valueAt(view.t - 1)} before it to
      ${valueAt(view.t)} now. Press ${strong("step")} and see what starts again.` },
  { title: "Why errors vanish", lit: ["why-card", "lines"], side: "left", place: () => inLongLine(40),
    text: () => say`The colors of the text say which earlier characters made ${symbol(view.chosen)} more likely
      (orange) or less (blue). Training goes the same way back: at every character the error passes W_hh and the slope
      of φ, and mostly gets shorter. The bars show its length. Where it is near zero, nothing can be learned from the
      text there: the vanishing gradient.` },
];

function phiInWords() {
  if (!elman) return "Gates from 0 (shut) to 1 (open) decide how much of it enters and how much of the old stays.";
  return relu ? "Here φ is ReLU: what is above zero stays, the rest is turned off."
    : "Here φ is tanh: it squeezes every number into −1 to 1.";
}

function showCard(i) {
  document.querySelectorAll(".lit").forEach((element) => element.classList.remove("lit"));
  walk.card = i;
  at("walk").hidden = i === null;
  if (i === null) return at("start-walk").focus();
  const { title, lit, side, place, unit, text } = CARDS[i];
  toggleWriting(false);
  if (unit) view.unit = unit;
  openTab("step");
  go(place());
  at("walk-title").textContent = `${i + 1} of ${CARDS.length}: ${title}`;
  at("walk-text").replaceChildren(...text());
  at("walk").dataset.side = side ?? "";
  at("walk-back").disabled = i === 0;
  at("walk-on").textContent = i === CARDS.length - 1 ? "done" : "next ▶";
  const elements = lit.map(at).filter(Boolean); // without grids, some are missing
  elements.forEach((element) => element.classList.add("lit"));
  elements[0]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  at("walk-on").focus({ preventScroll: true });
}

function startWalk() {
  at("start-walk").addEventListener("click", () => showCard(0));
  at("walk-close").addEventListener("click", () => showCard(null));
  at("walk-back").addEventListener("click", () => showCard(walk.card - 1));
  at("walk-on").addEventListener("click", () => showCard(walk.card === CARDS.length - 1 ? null : walk.card + 1));
  document.addEventListener("keydown", ({ key }) => { if (key === "Escape" && walk.card !== null) showCard(null); });
}
