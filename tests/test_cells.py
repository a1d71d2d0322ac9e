from typing import Any

import pytest
import torch
from torch import Tensor, nn

from charrnn.cells import ElmanCell
from charrnn.errors import RequestError
from conftest import OPTIONS

V, H, B = 7, 5, 3


def make_cell(inputs: int = V, hidden: int = H, reads_ids: bool = True, **changes: Any) -> ElmanCell:
    return ElmanCell(inputs, hidden, reads_ids=reads_ids, **{**OPTIONS, **changes}).double()


def torch_twin(cell: ElmanCell) -> nn.RNN:
    twin = nn.RNN(cell.inputs, cell.hidden, nonlinearity=cell.activation).double()
    with torch.no_grad():
        twin.weight_ih_l0.copy_(cell.input_to_hidden)
        twin.weight_hh_l0.copy_(cell.hidden_to_hidden)
        twin.bias_ih_l0.copy_(cell.hidden_bias)
        twin.bias_hh_l0.zero_()
    return twin


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("reads_ids", [True, False])
def test_values_and_all_gradients_equal_those_of_torch(activation: str, steps: int, reads_ids: bool) -> None:
    cell = make_cell(activation=activation, reads_ids=reads_ids, recurrent_init="orthogonal")
    nn.init.normal_(cell.hidden_bias)
    twin = torch_twin(cell)
    ids_TB = torch.randint(V, (steps, B))
    x = ids_TB if reads_ids else torch.randn(steps, B, V, dtype=torch.float64)
    x_TBV = nn.functional.one_hot(ids_TB, V).double() if reads_ids else x
    state, twin_state = (torch.linspace(-1, 1, B * H, dtype=torch.float64).view(B, H) for _ in range(2))
    state.requires_grad_()
    twin_state.requires_grad_()

    outputs, last = cell.unroll(x, state)
    twin_outputs, twin_last = twin(x_TBV, twin_state[None])
    torch.testing.assert_close(outputs, twin_outputs)
    torch.testing.assert_close(last, twin_last[0])

    weighting = torch.randn(steps, B, H, dtype=torch.float64)
    (outputs * weighting).sum().backward()
    (twin_outputs * weighting).sum().backward()
    pairs: list[tuple[Tensor, Tensor]] = [
        (cell.input_to_hidden, twin.weight_ih_l0),
        (cell.hidden_to_hidden, twin.weight_hh_l0),
        (cell.hidden_bias, twin.bias_ih_l0),
        (state, twin_state),
    ]
    for ours, theirs in pairs:
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_start_values() -> None:
    eye = torch.eye(H, dtype=torch.float64)
    tanh, relu = make_cell(activation="tanh", recurrent_gain=0.9), make_cell(activation="relu", recurrent_gain=0.9)
    torch.testing.assert_close(tanh.hidden_to_hidden @ tanh.hidden_to_hidden.T, 0.81 * eye, atol=1e-6, rtol=0)
    assert not torch.equal(tanh.hidden_to_hidden.abs() > 0.01, eye > 0.5)
    torch.testing.assert_close(relu.hidden_to_hidden, 0.9 * eye, atol=1e-6, rtol=0)
    swapped = make_cell(activation="tanh", recurrent_init="identity", recurrent_gain=0.5)
    torch.testing.assert_close(swapped.hidden_to_hidden, 0.5 * eye)
    wide = make_cell(inputs=400, hidden=300)
    assert wide.input_to_hidden.std().item() == pytest.approx(0.5, rel=0.02)
    above = make_cell(inputs=400, hidden=300, reads_ids=False)
    assert above.input_to_hidden.std().item() == pytest.approx(400**-0.5, rel=0.02)


def test_a_sequence_of_no_steps_is_refused() -> None:
    with pytest.raises(RequestError, match="at least one time step"):
        make_cell().unroll(torch.zeros(0, B, dtype=torch.int64), torch.zeros(B, H, dtype=torch.float64))
