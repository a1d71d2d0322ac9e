// The view of a text by its surprisal: the bits that every character cost, and what was expected instead.
const TOP_SHADE = 8; // the last shade is for all higher values
const GUESSES = 6, SURPRISING = 0.98; // the quantile of the bits from which a place is surprising

const costOf = (piece) => {
  let bits = 0;
  for (let s = piece.start; s < piece.end; s++) bits += view.reading.costs[s] ?? 0;
  return bits;
};

const scored = new TextView(at("scored"), (span, piece) => {
  const level = Math.min(TOP_SHADE, Math.floor(costOf(piece)));
  const kept = [...span.classList].filter((name) => !/^s\d$/.test(name));
  span.className = [...kept, ...(level ? [`s${level}`] : [])].join(" ");
}, (t) => expect(t));

/** Works through the text in slices, as long as the view is open and the text the same. */
function workThrough(name, each, done) {
  const { reading } = view, ids = reading.ids.length, hold = reading.hold;
  const slice = () => {
    if (isHidden(name) || view.reading !== reading || reading.ids.length !== ids || reading.hold !== hold) return;
    const finished = each(performance.now() + 30);
    done(finished);
    if (!finished) setTimeout(slice, 0);
  };
  slice();
}

function drawScore() {
  if (isHidden("score")) return;
  const { reading } = view;
  scored.show(reading);
  const start = performance.now(), known = reading.costs.length; // from an earlier look
  let t = 1, bits = 0, count = 0, drawn = -Infinity, waiting = true; // for the place that is explained
  workThrough("score", (deadline) => {
    for (; t < reading.ids.length && performance.now() < deadline; t++) {
      bits += reading.cost(t);
      count += !bytewise || (reading.ids[t] & 0xc0) !== 0x80;
    }
    return t >= reading.ids.length;
  }, (finished) => {
    if (waiting && t > view.t) expect(view.t);
    waiting &&= t <= view.t;
    if (finished || performance.now() - drawn > 300) { // not at every slice: a layout of a long text takes time
      const total = reading.ids.length, left = ((performance.now() - start) / 1000) * (total - t) / (t - known);
      const time = t - known > 500 ? `, about ${number(left + 1)} s left` : "";
      const words = `${percent(t / total, 0)} of ${number(total)} characters scored${time} …`;
      at("progress").textContent = finished ? "" : words;
      at("mean").textContent = count ? number(bits / count, 4) : "–";
      at("count").textContent = number(count);
      scored.redraw();
      drawn = performance.now();
    }
  });
}

/** Shows what was expected at the place of symbol t. */
function expect(t) {
  const { reading } = view;
  reading.reach(t);
  view.t = t;
  scored.mark(t);
  const piece = scored.marked?.piece ?? { start: t, end: t + 1 }, tables = [];
  for (let s = Math.max(1, piece.start); s < piece.end; s++) tables.push(guessTable(s));
  const fresh = reading.startsAt(piece.start - 1) && piece.start > 1;
  const words = "A window starts here: the network has read one symbol.";
  at("expected").replaceChildren(
    make("h2", {}, piece.end - piece.start > 1 ? make("kbd", { textContent: piece.text }) : symbol(reading.ids[t]),
      tables.length ? ` cost ${number(costOf(piece), 2)} bits` : " is the first: it is given, not predicted"),
    ...(fresh ? [make("p", { className: "faint" }, words)] : []), ...tables);
}

function guessTable(s) {
  const { reading } = view, id = reading.ids[s], p = softmax(reading.logits(s - 1));
  const best = largest(p, Math.min(GUESSES, V), (value) => value);
  const listed = best.includes(id) ? best : [...best, id];
  const rows = listed.map((other) => make("tr", { className: other === id ? "own" : "" },
    make("th", { scope: "row" }, symbol(other)),
    make("td", { className: "room" }, Object.assign(make("i"), { style: `width: ${100 * p[other]}%` })),
    make("td", { textContent: p[other] < 0.0005 ? "< 0.1 %" : percent(p[other]) })));
  const table = make("table", {}, ...rows);
  table.createCaption().append("expected here; it was ", symbol(id));
  return table;
}

/** Goes to the next place whose bits are among the highest of the text. */
function nextSurprise() {
  const { reading, t } = view, limit = quantile(reading.costs.filter((bits) => bits > 0), SURPRISING);
  const surprising = (s) => s > 0 && reading.costs[s] >= limit;
  const order = Array.from({ length: reading.ids.length }, (_, i) => (t + 1 + i) % reading.ids.length);
  const found = order.find(surprising);
  if (found !== undefined) expect(found);
}

function startScore() {
  at("metrics").append(...entries(page.facts.metrics));
  at("note").textContent = page.facts.note ?? "";
  for (let level = 0; level <= TOP_SHADE; level++) {
    at("shades").append(make("li", { className: `s${level}`, textContent: level < TOP_SHADE ? level : `${level} +` }));
  }
  at("surprise").addEventListener("click", nextSurprise);
  at("open-step").addEventListener("click", () => { view.t = Math.max(0, view.t - 1); openTab("step"); });
  at("scored").addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === "n") nextSurprise();
    else if (moves[event.key]) expect(Math.max(0, Math.min(view.reading.ids.length - 1, view.t + moves[event.key])));
    else return;
    event.preventDefault();
  });
}
