"""Export of a trained network as an ONNX graph of one time step, checked against torch.

B batch lane, V vocabulary, H hidden unit, L layer, S state size of one layer.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from charrnn.data.vocabulary import AnyVocabulary
from charrnn.export.arrays import Facts, weights_of
from charrnn.network.char_rnn import CharRNN, evaluating
from charrnn.utils.errors import RequestError, RunFailed

if TYPE_CHECKING:
    from onnx import GraphProto

OPSET, IR_VERSION = 18, 8  # the oldest that have all the operators, for older runtimes
CHECKED_STEPS, CHECKED_LANES = 5, 3
TOLERANCE = 1e-5  # relative to the largest expected value, or to 1 if that is larger

AddNode = Callable[..., Any]


def to_onnx(network: CharRNN, vocabulary: AnyVocabulary, facts: Facts) -> bytes:
    """Return an ONNX model of one step: `ids` int64 [B], `state` [L, B, S] -> `logits` [B, V], `new_state`; any B.

    `metadata_props` hold the network's settings, the vocabulary and the facts as JSON. Raises `RequestError` if a
    package is missing, `RunFailed` if onnxruntime's results differ from the network's.
    """
    try:
        import onnx
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        message = f"--format onnx needs onnx and onnxruntime ({error}); install them: pip install onnx onnxruntime"
        raise RequestError(message) from error

    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(
        _graph(network), producer_name="charrnn", opset_imports=opsets, ir_version=IR_VERSION
    )
    metadata = {"settings": network.settings, "vocabulary": vocabulary.settings, "facts": facts}
    onnx.helper.set_model_props(model, {name: json.dumps(values) for name, values in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    _compare(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]), network)
    return content


def _graph(network: CharRNN) -> "GraphProto":
    """Build the graph of `network.step` node by node.

    `torch.onnx.export` (2.13) gives the same values. But it takes seconds instead of 0.2 s, writes stack traces with
    local paths into the file, needs two more packages, and its graph of a gated network is half as fast.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []

    def add(operation: str, *inputs: str, name: str = "", outputs: int = 0, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of names if `outputs` is given."""
        names = [name or f"{operation}_{len(nodes)}_{i}" for i in range(outputs or 1)]
        nodes.append(helper.make_node(operation, inputs, names, **attributes))
        return names if outputs else names[0]

    _add_step(add, network.settings)
    constants = {**weights_of(network), "first_axis": np.array([0])}
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    shape: list[str | int | None] = [len(network.cells), "B", network.initial_state(1).shape[-1]]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["B"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", len(network.output_bias)])
    state, new_state = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("state", "new_state"))
    return helper.make_graph(nodes, "step", [ids, state], [logits, new_state], initializers)


def _add_step(add: AddNode, settings: dict[str, Any]) -> None:
    cell, layers = settings["cell"], settings["layers"]
    x, new_states = "ids", []
    for layer, state_1BS in enumerate(add("Split", "state", outputs=layers, axis=0, num_outputs=layers)):
        state_BS = add("Squeeze", state_1BS, "first_axis")
        h, *c = add("Split", state_BS, outputs=2, axis=1, num_outputs=2) if cell == "lstm" else [state_BS]
        if layer == 0:
            a = add("Gather", add("Transpose", "input_to_hidden_0"), x)
        else:
            a = add("Gemm", x, f"input_to_hidden_{layer}", transB=1)
        if cell != "elman":
            a = add("Add", a, f"input_bias_{layer}")
        b = add("Gemm", h, f"hidden_to_hidden_{layer}", f"hidden_bias_{layer}", transB=1)
        if cell == "elman":
            h = add({"tanh": "Tanh", "relu": "Relu"}[settings["activation"]], add("Add", a, b))
        elif cell == "gru":
            h = _add_gru(add, a, b, h)
        else:
            h, *c = _add_lstm(add, a, b, *c)
        new_states.append(add("Unsqueeze", add("Concat", h, *c, axis=1), "first_axis"))
        x = add("Add", h, x) if settings["residual"] and layer > 0 else h
    add("Gemm", x, "hidden_to_output", "output_bias", transB=1, name="logits")
    add("Concat", *new_states, axis=0, name="new_state")


def _add_gru(add: AddNode, a: str, b: str, h: str) -> str:
    """r, z = sigma(a + b), n = tanh(a + r b), h_t = (1 - z) n + z h_{t-1}. Source: Cho 2014."""
    (a_r, a_z, a_n), (b_r, b_z, b_n) = (add("Split", x, outputs=3, axis=1, num_outputs=3) for x in (a, b))
    r, z = add("Sigmoid", add("Add", a_r, b_r)), add("Sigmoid", add("Add", a_z, b_z))
    n = add("Tanh", add("Add", a_n, add("Mul", r, b_n)))
    return str(add("Add", n, add("Mul", z, add("Sub", h, n))))


def _add_lstm(add: AddNode, a: str, b: str, c: str) -> tuple[str, str]:
    """i, f, o = sigma(a + b), g = tanh(a + b), c_t = f c_{t-1} + i g, h_t = o tanh(c_t). Source: Hochreiter 1997."""
    i, f, g, o = add("Split", add("Add", a, b), outputs=4, axis=1, num_outputs=4)
    kept, added = add("Mul", add("Sigmoid", f), c), add("Mul", add("Sigmoid", i), add("Tanh", g))
    c = add("Add", kept, added)
    return add("Mul", add("Sigmoid", o), add("Tanh", c)), c


def _compare(session: Any, network: CharRNN) -> None:
    generator = np.random.default_rng(0)
    with evaluating(network):
        state = network.initial_state(CHECKED_LANES)
        for _ in range(CHECKED_STEPS):
            ids = generator.integers(len(network.output_bias), size=CHECKED_LANES)
            results = session.run(None, {"ids": ids, "state": state.numpy()})
            logits, state = network.step(torch.from_numpy(ids), state)
            for result, expected in zip(results, (logits.numpy(), state.numpy()), strict=True):
                difference = np.abs(result - expected).max() / max(1.0, np.abs(expected).max())
                if not difference <= TOLERANCE:
                    raise RunFailed(
                        f"onnxruntime's results differ from torch's by {difference:.1e}; nothing was written"
                    )
