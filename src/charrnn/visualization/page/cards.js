// The two cards below the equation: how a unit got its value, and why a character is likely.
const { features, correlations } = page.units;
const WEAK = 0.1; // a unit with less correlation follows no feature
const numberOf = ({ layer, unit }) => layer * H + unit;

/** The feature that a unit follows best, and the correlation. */
function follows(unit) {
  const rs = correlations[unit], feature = largest(rs, 1)[0];
  return { feature, name: features[feature][0], r: rs[feature] };
}

function drawUnitCard() {
  const { layer, unit } = view.unit, part = view.parts[layer], held = isHeld();
  at("unit-name").textContent = unitName(view.unit).replace("unit", "Unit");
  at("hold").textContent = held ? "release" : "hold it at a value";
  at("held").hidden = !held;
  const { hold } = view.reading;
  at("hint").classList.toggle("holding", hold !== null);
  at("release").textContent = `release ${unitName(hold ?? view.unit)}`;
  at("unit-hint").textContent = held ? "held: click to release it" : "point at a cell; click to hold it";
  if (held) at("held-value").textContent = signed(hold.value, digits);
  const kept = say`It is held at ${signed(part.h[unit], digits)}, whatever its sum is.`;
  at("unit-sum").replaceChildren(...(held ? kept : sumOf(layer, unit, part)));
  at("unit-from").replaceChildren(...memoryOf(layer, unit, part));
  at("unit-says").replaceChildren(...spokenFor(layer, unit));
  const { name, r } = follows(numberOf(view.unit)), feature = make("b", { textContent: name });
  at("unit-follows").replaceChildren(...(Math.abs(r) < WEAK
    ? say`It follows no simple feature of the text (closest: ${name}, r = ${signed(r)}).`
    : say`It follows ${feature} best, r = ${signed(r)}.`));
  const ids = view.reading.ids.slice(0, view.t + 1), scale = page.units.scales[numberOf(view.unit)] || 1;
  drawTrack(at("unit-track"), 0, ids, scale, (s) => view.reading.states[s][layer].h[unit]);
}

/** The equation of one unit, in numbers. */
function sumOf(layer, unit, part) {
  const before = view.reading.before(view.t)[layer];
  const below = layer > 1 && settings.residual ? "the layers below" : `layer ${layer - 1}`;
  const who = layer ? below : symbol(view.reading.ids[view.t]);
  const shown = (value) => signed(value, digits), plain = (value) => number(value, digits), line = make("br");
  const bias = elman ? layers[layer].inputBias[unit] : 0, h = make("b", { textContent: shown(part.h[unit]) });
  const biases = elman ? say` ${colored(bias, digits)} bias` : [];
  const sum = say`${phi}( ${colored(part.character[unit] - bias, digits)} from ${who}
    ${colored(part.memory[unit], digits)} from the memory${biases} )`;
  if (elman) return say`h = ${sum} = ${h}`;
  if (settings.cell === "gru") {
    const n = shown(part.n[unit]), z = part.z[unit];
    return say`n = ${sum} = ${n} ${line}
      h = (1 − z) n + z h = ${plain(1 - z)} × ${n} + ${plain(z)} × ${shown(before.h[unit])} = ${h}`;
  }
  const [i, f, o] = ["i", "f", "o"].map((gate) => plain(part[gate][unit])), g = shown(part.g[unit]), c = part.c[unit];
  return say`g = ${sum} = ${g} ${line} c = f c + i g = ${f} × ${shown(before.c[unit])} + ${i} × ${g} = ${shown(c)}
    ${line.cloneNode()} h = o tanh(c) = ${o} × ${shown(Math.tanh(c))} = ${h}`;
}

/** The old units that made what the memory says: a row of W_hh times h_{t-1}. */
function memoryOf(layer, unit, part) {
  const offset = elman ? 0 : 2 * H, before = view.reading.before(view.t)[layer].h, share = part.r ? part.r[unit] : 1;
  const made = row(layers[layer].recurrent, offset + unit, H).map((weight, i) => share * weight * before[i]);
  const most = largest(made, 4).filter((i) => made[i]).map((i) => [`unit ${i} `, colored(made[i])]);
  if (!most.length) return say`The memory is empty: nothing was read before.`;
  return say`The memory's part comes from ${list(most)}.`;
}

/** The characters that a unit speaks for and against: a column of W_hy. */
function spokenFor(layer, unit) {
  if (layer < layers.length - 1 && !settings.residual) return say`It speaks through layer ${layer + 1}.`;
  const column = row(output.rowsT, unit, V), half = Math.min(6, Math.floor(V / 2));
  const some = (sign) => largest(column, half, (weight) => sign * weight)
    .flatMap((id, i) => (i ? [" ", symbol(id)] : [symbol(id)]));
  return say`${relu ? "When it is on" : "Above zero"}, it speaks for ${some(1)} and against ${some(-1)}.`;
}

const isHeld = () => view.reading.hold?.layer === view.unit.layer && view.reading.hold.unit === view.unit.unit;

/** Holds the unit at its value from this step on, or releases it. */
function toggleHold() {
  const { reading, unit, t } = view;
  if (isHeld()) reading.setHold(null);
  else {
    const value = view.parts[unit.layer].h[unit.unit], most = relu ? 2 * (page.units.scales[numberOf(unit)] || 1) : 1;
    Object.assign(at("value"), { min: relu ? 0 : -most, max: most, step: most / 100, value });
    reading.setHold({ ...unit, value, from: t });
  }
  drawStep();
}

function drawWhyCard() {
  const { reading, t, chosen, split } = view, logit = signed(view.logits[chosen]);
  at("why-name").replaceChildren(...say`Why ${symbol(chosen)}?`);
  const back = largest(split.characters, 6).filter((k) => Math.abs(split.characters[k]) >= 0.005); // shown as 0.01
  const characters = back.sort((j, k) => j - k)
    .map((k) => [symbol(reading.ids[t - k]), k ? ` (${k} earlier) ` : " (just read) ", colored(split.characters[k])]);
  at("why-characters").replaceChildren(
    ...say`By character (the colors of the text): ${characters.length ? list(characters) : "none matters"}.`);
  const owners = view.parts.flatMap((part, layer) => (layer === layers.length - 1 || settings.residual
    ? Array.from(part.h, (h, unit) => ({ layer, unit, says: h * output.rows[chosen * H + unit] })) : []));
  const units = largest(owners.map(({ says }) => says), 5).map((i) => {
    const link = make("button", { className: "link", textContent: unitName(owners[i]) });
    link.addEventListener("click", () => pointAt(owners[i]));
    return [link, " ", colored(owners[i].says)];
  });
  at("why-units").replaceChildren(...say`By unit: ${list(units)}.`);
  const count = split.characters.length, sum = split.characters.reduce((one, other) => one + other, 0);
  const parts = [[sum, count === 1 ? "from 1 character" : `from ${count} characters`], [split.bias, "from the biases"],
    [split.earlier, "from what was read before"], [split.held, "from the held unit"]]
    .map(([part, name]) => [Number(part.toFixed(2)), name]).filter(([part], i) => !i || part);
  const rest = Number(view.logits[chosen].toFixed(2)) - parts.reduce((total, [part]) => total + part, 0);
  if (relu) parts.at(-1)[0] += rest; // no more than rounding: what is shown adds up
  else if (Math.abs(rest) >= 0.005) parts.push([rest, "rest (not linear)"]);
  const shares = list(parts.map(([part, name]) => [colored(part), ` ${name}`]));
  at("why-sum").replaceChildren(...say`${shares}. Together: the logit y = ${logit}. ${relu
    ? "The split is exact: as long as the same units are on, ReLU is linear."
    : `The split is first order (gradient times input): it leaves out how ${elman ? "tanh bends" : "gates bend"}.`}`);
  drawError(split.lengths);
}

/** The length of the error at every earlier step, on a logarithmic scale of three decades. */
function drawError(lengths) {
  const shares = lengths.map((length) => length / lengths[0]), gone = shares.findIndex((share) => !(share >= 0.01));
  const last = lengths.length - 1, characters = (n) => (n === 1 ? "1 character" : `${n} characters`);
  at("why-error").replaceChildren(...(gone >= 0
    ? say`Going back in time, the error gets below 1 % of its length after ${characters(gone)}: earlier text can hardly
      be learned from (bars: its length, from 0.1 %, log scale).`
    : say`Going back in time, the error has ${percent(shares[last], 0)} of its length after ${characters(last)} (bars:
      its length, from 0.1 %, log scale).`));
  const top = Math.max(1, ...shares), size = (s) => Math.max(0, 1 + Math.log10(shares[view.t - s] / top) / 3);
  drawTrack(at("error"), view.t - last, view.reading.ids.slice(0, view.t + 1), 1, size);
}
