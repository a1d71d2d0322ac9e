// The network: one step forward. H hidden unit, V symbol, G rows of all gates; matrices are flat arrays, row by row.
"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const { settings } = page;
const [V, H] = page.weights.hidden_to_output.shape;
const G = H * { elman: 1, gru: 3, lstm: 4 }[settings.cell];
const relu = settings.activation === "relu", elman = settings.cell === "elman";

/** Decodes a matrix: 32-bit floats, or 16-bit integers with a scale for each row. */
function decode({ shape, floats, integers, scales }) {
  const bufferOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
  if (floats !== undefined) return new Float32Array(bufferOf(floats));
  const factors = new Float32Array(bufferOf(scales));
  const rowOf = (i) => Math.floor(i / shape[1]);
  return Float32Array.from(new Int16Array(bufferOf(integers)), (integer, i) => integer * factors[rowOf(i)]);
}

const weights = Object.fromEntries(Object.entries(page.weights).map(([name, packed]) => [name, decode(packed)]));

/** Returns the transposed matrix: a step forward adds up rows of it, a step back rows of the matrix itself. */
function transposed(matrix, columns) {
  const rows = matrix.length / columns, result = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[row * columns + column];
  }
  return result;
}

let layers, output;

/** Prepares the weights for steps; call it again after an edit. */
function prepare() {
  layers = Array.from({ length: settings.layers }, (_, layer) => {
    const [input, recurrent, hiddenBias, inputBias] =
      ["input_to_hidden", "hidden_to_hidden", "hidden_bias", "input_bias"].map((name) => weights[`${name}_${layer}`]);
    return { input, inputT: transposed(input, layer ? H : V), recurrent, recurrentT: transposed(recurrent, H),
      // The bias of the plain cell counts with the character, the recurrent bias of a gated cell with the memory.
      inputBias: inputBias ?? hiddenBias, hiddenBias: inputBias ? hiddenBias : new Float32Array(G) };
  });
  const rows = weights.hidden_to_output;
  output = { rows, rowsT: transposed(rows, H), bias: weights.output_bias };
}
prepare();

/** Adds x_i times row i of a matrix to `sum`, for all i; zeros cost nothing. Eight rows at a time are the fastest. */
function addRows(sum, x, rows) {
  const width = sum.length, from = [], times = [];
  const use = (i, factor) => { from.push(i * width); times.push(factor); };
  for (let i = 0; i < x.length; i++) if (x[i] !== 0) use(i, x[i]);
  while (from.length % 8) use(0, 0);
  for (let n = 0; n < from.length; n += 8) {
    const i = from[n], j = from[n + 1], k = from[n + 2], l = from[n + 3];
    const p = from[n + 4], q = from[n + 5], r = from[n + 6], s = from[n + 7];
    const a = times[n], b = times[n + 1], c = times[n + 2], d = times[n + 3];
    const e = times[n + 4], f = times[n + 5], g = times[n + 6], h = times[n + 7];
    for (let m = 0; m < width; m++) {
      sum[m] += a * rows[i + m] + b * rows[j + m] + c * rows[k + m] + d * rows[l + m]
        + e * rows[p + m] + f * rows[q + m] + g * rows[r + m] + h * rows[s + m];
    }
  }
  return sum;
}

const row = (rows, i, width) => rows.subarray(i * width, (i + 1) * width);
const sigmoid = (a) => 1 / (1 + Math.exp(-a));

/** The new state of a layer from a = W_xh x_t + bias and b = W_hh h_{t-1} + bias, with all that it is made of. */
const cells = {
  elman(a, b) {
    const h = new Float32Array(H);
    for (let i = 0; i < H; i++) h[i] = relu ? Math.max(a[i] + b[i], 0) : Math.tanh(a[i] + b[i]);
    return { h, character: a, memory: b };
  },
  gru(a, b, before) {
    const [r, z, n, memory, h] = Array.from({ length: 5 }, () => new Float32Array(H));
    for (let i = 0; i < H; i++) {
      r[i] = sigmoid(a[i] + b[i]);
      z[i] = sigmoid(a[H + i] + b[H + i]);
      memory[i] = r[i] * b[2 * H + i];
      n[i] = Math.tanh(a[2 * H + i] + memory[i]);
      h[i] = (1 - z[i]) * n[i] + z[i] * before.h[i];
    }
    return { h, r, z, n, character: row(a, 2, H), memory };
  },
  lstm(a, b, before) {
    const [i, f, g, o, c, h] = Array.from({ length: 6 }, () => new Float32Array(H));
    for (let u = 0; u < H; u++) {
      i[u] = sigmoid(a[u] + b[u]);
      f[u] = sigmoid(a[H + u] + b[H + u]);
      g[u] = Math.tanh(a[2 * H + u] + b[2 * H + u]);
      o[u] = sigmoid(a[3 * H + u] + b[3 * H + u]);
      c[u] = f[u] * before.c[u] + i[u] * g[u];
      h[u] = o[u] * Math.tanh(c[u]);
    }
    return { h, c, i, f, g, o, character: row(a, 2, H), memory: row(b, 2, H) };
  },
};

const zeroState = () => layers.map(() => ({ h: new Float32Array(H), c: new Float32Array(H) }));

/** One time step: all layers, lowest first, after reading symbol `id` in the state `before`. `hold` fixes one unit. */
function step(id, before, hold) {
  const parts = [];
  let x;
  layers.forEach(({ inputT, recurrentT, inputBias, hiddenBias }, layer) => {
    const a = new Float64Array(inputBias), b = addRows(new Float64Array(hiddenBias), before[layer].h, recurrentT);
    if (layer) addRows(a, x, inputT);
    else row(inputT, id, G).forEach((weight, i) => { a[i] += weight; }); // W_xh times a one-hot x_t: a column of W_xh
    const part = cells[settings.cell](a, b, before[layer]);
    if (hold?.layer === layer) part.h[hold.unit] = hold.value;
    parts.push(part);
    x = layer && settings.residual ? part.h.map((value, i) => value + x[i]) : part.h;
  });
  return parts;
}

/** What W_hy reads: the output of the top layer, or with residual connections the sum of all layers. */
const topOf = (state) => state[0].h.map((value, i) => settings.residual
  ? state.reduce((sum, { h }) => sum + h[i], 0) : state.at(-1).h[i]);
const logitsOf = (state) => addRows(new Float64Array(output.bias), topOf(state), output.rowsT);

function softmax(logits, temperature = 1) {
  const largest = Math.max(...logits);
  const power = (y) => (temperature ? Math.exp((y - largest) / temperature) : Number(y === largest));
  const powers = Float64Array.from(logits, power);
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((value) => value / sum);
}

/** Draws the symbol that `uniform` in [0, 1) picks from softmax(logits / temperature); at 0 the most likely one. */
function sample(logits, temperature, uniform) {
  if (!temperature) return logits.indexOf(Math.max(...logits));
  let sum = 0;
  const id = softmax(logits, temperature).findIndex((p) => (sum += p) > uniform);
  return id < 0 ? V - 1 : id;
}
