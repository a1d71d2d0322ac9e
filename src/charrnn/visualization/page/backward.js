// One logit, back through time: what each earlier character added to it, and how long the error is on its way.
// Where to stop: characters, multiplications (a view must stay quick), and the share of the error that is left.
const MAX_BACK = 128, MAX_PRODUCTS = elman ? 1.6e7 : 4e7, FAINT = 1e-4;

/** The derivatives of a layer's step, from the error of its h and c: for a, b, h_{t-1} and c_{t-1}. */
const slopes = {
  elman(part, before, error) {
    const d = error.map((e, i) => e && e * (relu ? Number(part.h[i] > 0) : 1 - part.h[i] ** 2));
    return { a: d, b: d };
  },
  gru({ r, z, n, memory }, before, error) {
    const a = new Float64Array(G), b = new Float64Array(G), h = error.map((e, i) => e * z[i]);
    for (let i = 0; i < H; i++) {
      const candidate = error[i] * (1 - z[i]) * (1 - n[i] ** 2);
      a[2 * H + i] = candidate;
      b[2 * H + i] = candidate * r[i];
      a[i] = b[i] = candidate * (1 - r[i]) * memory[i];
      a[H + i] = b[H + i] = error[i] * (before.h[i] - n[i]) * z[i] * (1 - z[i]);
    }
    return { a, b, h };
  },
  lstm({ i, f, g, o, c }, before, error, errorC) {
    const a = new Float64Array(G), next = new Float64Array(H);
    for (let u = 0; u < H; u++) {
      const bent = Math.tanh(c[u]), e = errorC[u] + error[u] * o[u] * (1 - bent ** 2);
      a[u] = e * g[u] * i[u] * (1 - i[u]);
      a[H + u] = e * before.c[u] * f[u] * (1 - f[u]);
      a[2 * H + u] = e * i[u] * (1 - g[u] ** 2);
      a[3 * H + u] = error[u] * bent * o[u] * (1 - o[u]);
      next[u] = e * f[u];
    }
    return { a, b: a, c: next };
  },
};

function dot(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}
const norm = (x) => Math.sqrt(dot(x, x));
const nonzero = (x) => x.reduce((count, value) => count + (value !== 0), 0);

/**
 * Splits the logit of symbol `chosen` after position t: gradient times input. With ReLU the parts add up to the logit,
 * since the network is linear as long as the same units are on; otherwise they are first order.
 * Returns `characters` [k] of the symbol k steps earlier, `bias`, `held` (a held unit), `earlier` (all that was read
 * before), and `lengths` [k] of the error: the norm of the derivative by the state k steps earlier.
 */
function trace(reading, t, chosen) {
  const characters = [], lengths = [], none = () => layers.map(() => new Float64Array(H));
  let errors = none(), errorsC = none(), bias = output.bias[chosen], held = 0, earlier = 0, products = 0;
  let start = 0;
  reading.reach(t);
  for (let s = t; s >= 0; s--) {
    const before = reading.before(s), parts = elman ? reading.states[s] : reading.step(s);
    const nextErrors = [], nextErrorsC = [], hold = reading.holdAt(s);
    let fromAbove = s === t ? Float64Array.from(row(output.rows, chosen, H)) : new Float64Array(H);
    lengths.push(Math.hypot(norm(fromAbove), ...errors.map(norm), ...errorsC.map(norm)));
    for (let layer = layers.length - 1; layer >= 0; layer--) {
      const { input, recurrent, inputBias, hiddenBias } = layers[layer];
      const error = errors[layer].map((e, i) => e + fromAbove[i]);
      if (hold?.layer === layer) {
        held += error[hold.unit] * hold.value;
        error[hold.unit] = 0;
      }
      const d = slopes[settings.cell](parts[layer], before[layer], error, errorsC[layer]);
      bias += dot(d.a, inputBias) + dot(d.b, hiddenBias);
      if (layer) {
        const below = addRows(new Float64Array(H), d.a, input);
        fromAbove = settings.residual ? below.map((e, i) => e + fromAbove[i]) : below;
      } else {
        characters.push(dot(d.a, row(layers[0].inputT, reading.ids[s], G)));
      }
      nextErrors[layer] = addRows(d.h ?? new Float64Array(H), d.b, recurrent);
      nextErrorsC[layer] = d.c ?? new Float64Array(H);
      products += H * nonzero(d.b);
    }
    [errors, errorsC, start] = [nextErrors, nextErrorsC, s];
    const far = t - s + 1 === MAX_BACK || products > MAX_PRODUCTS;
    if (reading.startsAt(s) || far || lengths.at(-1) < FAINT * lengths[0]) break;
  }
  reading.before(start).forEach(({ h, c }, layer) => {
    earlier += dot(errors[layer], h) + (c ? dot(errorsC[layer], c) : 0);
  });
  return { characters, bias, held, earlier, lengths };
}
