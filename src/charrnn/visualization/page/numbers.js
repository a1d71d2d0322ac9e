// Small networks in numbers: the three matrices and the biases as tables that can be edited.
const tables = inNumbers && V <= 128;
const GATES = { elman: "h", gru: "rzn", lstm: "ifgo" }[settings.cell]; // the indices of their weights, in this order

/**
 * A table of one matrix with its bias, `biases` of [array, shown name]; `names` are the names of the rows, the first of
 * which is row `from` of the matrix, `heads` those of the columns.
 */
function matrixTable(title, name, biases, names, heads, from = 0) {
  const input = (matrix, i, label) => {
    const value = Number(weights[matrix][i].toFixed(3));
    const field = make("input", { type: "number", step: "0.1", value, ariaLabel: label });
    field.addEventListener("input", () => {
      if (!Number.isFinite(field.valueAsNumber)) return;
      weights[matrix][i] = field.valueAsNumber;
      prepare();
      view.reading.forget(0);
      drawStep();
    });
    return make("td", {}, field);
  };
  const body = names.map((rowName, i) => make("tr", {}, make("th", { scope: "row", textContent: rowName }),
    ...heads.map((head, j) => input(name, (from + i) * heads.length + j, `${title}, row ${rowName}, column ${head}`)),
    ...biases.map(([bias, shown]) => input(bias, from + i, `${shown}, row ${rowName}`))));
  const head = make("tr", {}, make("th"), ...heads.map((textContent) => make("th", { scope: "col", textContent })),
    ...biases.map(([, shown]) => make("th", { scope: "col" }, formula(shown))));
  const table = make("table", { ariaLabel: title }, make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { className: "swipe" }, formula(title), table);
}

function buildNumbers() {
  at("matrices").hidden = !tables;
  if (!tables) return;
  const units = Array.from({ length: H }, (_, i) => `${i}`), symbols = Array.from({ length: V }, (_, id) => signOf(id));
  const suffix = (layer) => (layers.length > 1 ? `, layer ${layer}` : "");
  at("tables").append(...layers.flatMap((_, layer) => {
    const [below, heads] = layer ? ["unit below", units] : ["character", symbols];
    const end = suffix(layer), hiddenBias = `hidden_bias_${layer}`;
    const gates = [...GATES].map((gate, g) => [gate, elman ? [[hiddenBias, "b_h"]]
      : [[`input_bias_${layer}`, `b_x${gate}`]], elman ? [] : [[hiddenBias, `b_h${gate}`]], g * H]);
    return [...gates.map(([gate, bias, , from]) => matrixTable(`W_x${gate}${end}: a column for each ${below}`,
      `input_to_hidden_${layer}`, bias, units, heads, from)),
    ...gates.map(([gate, , bias, from]) => matrixTable(`W_h${gate}${end}: a column for each old unit`,
      `hidden_to_hidden_${layer}`, bias, units, units, from))];
  }), matrixTable("W_hy: a row for each next character", "hidden_to_output", [["output_bias", "b_y"]], symbols, units));
}

/** Marks the column that x_t looks up, and the row of the chosen symbol. */
function showNumbers() {
  if (!tables) return;
  const all = [...at("matrices").querySelectorAll("tbody")], id = view.reading.ids[view.t];
  const marked = all.slice(0, GATES.length).flatMap(({ rows }) => [...rows].map((line) => line.cells[id + 1]));
  const last = [...all.at(-1).rows][view.chosen];
  at("matrices").querySelectorAll(".now").forEach((old) => old.classList.remove("now"));
  [...marked, last].forEach((cell) => cell.classList.add("now"));
}
