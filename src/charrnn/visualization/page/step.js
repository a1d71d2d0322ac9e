// The view of one step: where the reader is, what it reads, and the keys and buttons that move on.
const SHOWN_BEFORE = 240, SHOWN_AFTER = 240, SHOWN_BLOCK = 80; // characters around the caret; they move by the block
const WRITE_INTERVAL = 60; // milliseconds
const MARK = " "; // in the empty field: phones report a Backspace only where there is something to delete

/** Where the page is: the text, its symbol t that was read last, the unit and the next symbol that are explained. */
const view = { reading: null, t: 0, temperature: 0.8, unit: null, chosen: 0, parts: [], writing: null };

/** Goes to symbol t. */
function go(t, { animated = false } = {}) {
  endPaste();
  view.t = Math.max(0, Math.min(view.reading.ids.length - 1, t));
  view.chosen = null;
  if (animated) slide();
  drawStep();
}

/** Computes and draws everything at the caret. */
function drawStep() {
  const { reading, t } = view;
  if (isHidden("step")) return;
  reading.reach(t);
  view.parts = reading.step(t);
  view.logits = logitsOf(view.parts);
  view.p = softmax(view.logits, view.temperature);
  view.best = view.logits.indexOf(Math.max(...view.logits));
  view.chosen ??= view.best;
  drawEquation();
  drawUnrolled();
  drawUnitCard();
  drawChosen();
  showNumbers();
}

/** Draws what depends on the chosen symbol. */
function drawChosen() {
  view.split = trace(view.reading, view.t, view.chosen);
  drawBars();
  drawWhyCard();
  drawPane();
}

function choose(id) {
  if (id === view.chosen) return;
  view.chosen = id;
  drawChosen();
}

function pointAt(unit) {
  view.unit = { layer: unit.layer, unit: unit.unit };
  drawEquation();
  drawUnitCard();
}

let paneLines = new Map(); // the lines around the caret by what they show: most stay from step to step

/** The element of a line from symbol `start` to `end`: one that is there, or a new one. */
function paneLine(ids, start, end) {
  const key = `${start} ${ids.slice(start, end)}`;
  return [key, paneLines.get(key) ?? make("div", { dir: "auto" }, ...pieces(ids, start, end).map(spanOf))];
}

/** Draws the text around the caret; the background of a character says what it added to the chosen logit. */
function drawPane() {
  const { reading, t, split } = view, { ids } = reading, block = (s) => s - (s % SHOWN_BLOCK);
  let from = Math.max(0, reading.lineStart(Math.max(0, t - SHOWN_BEFORE)), block(t - 2 * SHOWN_BEFORE));
  while (bytewise && from < t && (ids[from] & 0xc0) === 0x80) from++;
  const to = Math.min(ids.length, block(t + SHOWN_AFTER)), lines = [];
  for (let start = from, end; start < to; start = end) {
    end = Math.min(to, reading.lineEnd(start));
    lines.push(paneLine(ids, start, end));
  }
  if (lines.length !== paneLines.size || lines.some(([key]) => !paneLines.has(key))) {
    at("lines").replaceChildren(...lines.map(([, line]) => line));
    paneLines = new Map(lines);
  }
  const strength = quantile(split.characters.map(Math.abs), 0.97) || 1;
  let caret;
  for (const span of lines.flatMap(([, line]) => Array.from(line.children))) {
    const { start, end } = span.piece, isCaret = start <= t && t < end;
    let share = 0;
    for (let s = start; s < end; s++) share += split.characters[t - s] ?? 0;
    shade(span, share / strength);
    if (span.classList.contains("ahead") !== start > t) span.classList.toggle("ahead");
    if (span.classList.contains("caret") !== isCaret) span.classList.toggle("caret");
    if (isCaret) caret = span;
  }
  const pane = at("lines");
  pane.scrollTop = caret.offsetTop - pane.clientHeight / 2 + 12;
  at("typing").setAttribute("aria-label", `Text, at “${signOf(ids[t])}”. Type to write, arrow keys step.`);
}

/** Writes a symbol after the caret and reads it. */
function write(id) {
  view.reading.splice(view.t + 1, 0, id);
  go(view.t + 1, { animated: true });
}

/** Reads the next character of the text; at its end, draws one. */
function stepOn() {
  if (view.t + 1 < view.reading.ids.length) go(view.t + 1, { animated: true });
  else write(sample(view.logits, view.temperature, Math.random()));
}

let pastedEnd = null; // of a long text, while it is read in slices; then the caret goes there

/** Says something beside the buttons: what is wrong, or how far the page has got. */
function tell(words, className = "error") { Object.assign(at("message"), { textContent: words, className }); }

/** Stops the reading of a pasted text, and returns its end: null if none is read. */
function endPaste() {
  const end = pastedEnd;
  if (end !== null) tell("");
  pastedEnd = null;
  return end;
}

function type(text) {
  const { ids, unknown } = encode(text), { reading } = view, t = endPaste() ?? view.t;
  tell(leftOut(unknown));
  if (!ids.length) return;
  for (let i = 0; i < ids.length; i += 1000) reading.splice(t + 1 + i, 0, ...ids.slice(i, i + 1000));
  const end = pastedEnd = Math.min(t + ids.length, reading.ids.length - 1);
  workThrough("step", (deadline) => pastedEnd !== end || reading.reach(end, deadline), (finished) => {
    if (pastedEnd !== end) return;
    tell(`${percent(reading.states.length / (end + 1), 0)} of the text read …`, "faint");
    if (!finished) return;
    go(end, { animated: ids.length === 1 });
    tell(leftOut(unknown));
  });
}

function takeBack() {
  if (view.reading.ids.length < 2) return;
  const t = endPaste() ?? view.t;
  view.reading.splice(t, 1);
  go(t - 1);
}

/** Names the characters of a text that the network does not know. */
function leftOut(unknown) {
  const code = (c) => c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const names = unknown.slice(0, 8).map((c) => `“${c}” (U+${code(c)})`).join(", ");
  return names && `Left out, since the network does not know them: ${names}${unknown.length > 8 ? " …" : ""}`;
}

/** Writes on from the caret, a character at a time, before the text that follows, until it is called again. */
function toggleWriting(on = view.writing === null) {
  clearTimeout(view.writing);
  view.writing = null;
  at("write").textContent = on ? "stop ■" : "write ▶▶";
  if (!on) return;
  const next = () => {
    const { reading, t } = view;
    if (t + 1 >= page.most) return toggleWriting(false);
    reading.splice(t + 1, 0, sample(reading.logits(t), view.temperature, Math.random()));
    go(t + 1);
    view.writing = setTimeout(next, WRITE_INTERVAL);
  };
  view.writing = setTimeout(next, 0);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const line = at("lines").querySelector(".caret")?.parentElement;
  const forward = line && getComputedStyle(line).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const { reading, t } = view, start = reading.lineStart(t), column = t - start;
  const above = reading.lineStart(Math.max(0, start - 1)), below = reading.lineEnd(t);
  const moves = {
    ArrowUp: () => go(Math.min(above + column, reading.lineEnd(above) - 1)),
    ArrowDown: () => go(below < reading.ids.length ? Math.min(below + column, reading.lineEnd(below) - 1) : t),
    Home: () => go(0), End: () => go(reading.ids.length - 1), Backspace: takeBack,
    [forward]: stepOn, [forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft"]: () => go(t - 1),
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  toggleWriting(false);
  moves[event.key]();
}

function startStep() {
  buildEquation();
  at("bars").append(...bars);
  at("lines").addEventListener("click", ({ target }) => {
    toggleWriting(false);
    if (target.piece) go(target.piece.end - 1);
    at("typing").focus({ preventScroll: true });
  });
  at("typing").addEventListener("keydown", onKey);
  document.body.addEventListener("keydown", (event) => { // keys that are pressed anywhere else on the page
    if (event.defaultPrevented || isHidden("step") || event.ctrlKey || event.metaKey || event.altKey) return;
    const pressing = event.key === " " && event.target.closest("button, summary"); // Space and Enter press a button
    if (pressing || event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key.length === 1) at("typing").focus({ preventScroll: true });
    else onKey(event);
  });
  const typed = () => { // letters, a pasted text, or a composed character, after MARK
    const { value } = at("typing");
    toggleWriting(false);
    if (value) type(value.startsWith(MARK) ? value.slice(MARK.length) : value); else takeBack();
    at("typing").value = MARK;
  };
  at("typing").value = MARK;
  at("typing").addEventListener("input", ({ isComposing }) => { if (!isComposing) typed(); });
  at("typing").addEventListener("compositionend", typed);
  at("back").addEventListener("click", () => { toggleWriting(false); go(view.t - 1); });
  at("forward").addEventListener("click", () => { toggleWriting(false); stepOn(); });
  at("write").addEventListener("click", () => toggleWriting());
  at("hold").addEventListener("click", toggleHold);
  at("release").addEventListener("click", () => { view.reading.setHold(null); drawStep(); });
  at("value").addEventListener("input", () => {
    view.reading.setHold({ ...view.reading.hold, value: Number(at("value").value) });
    drawStep();
  });
  at("temperature").addEventListener("input", () => {
    view.temperature = Number(at("temperature").value);
    at("temperature-value").textContent = view.temperature ? number(view.temperature, 2) : "0: always the most likely";
    drawStep();
  });
}
