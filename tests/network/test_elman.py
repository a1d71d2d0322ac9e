from typing import Any

import pytest
import torch
from torch import nn

from charrnn.network.elman import ElmanCell
from charrnn.utils.errors import RequestError
from conftest import OPTIONS

V, H, B = 7, 5, 3


def make_cell(inputs: int = V, hidden: int = H, reads_ids: bool = True, **changes: Any) -> ElmanCell:
    return ElmanCell(inputs, hidden, reads_ids=reads_ids, **{**OPTIONS, **changes}).double()


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("reads_ids", [True, False])
def test_values_and_all_gradients_equal_those_of_torch(activation: str, steps: int, reads_ids: bool) -> None:
    cell = make_cell(activation=activation, reads_ids=reads_ids, recurrent_init="orthogonal")
    nn.init.normal_(cell.hidden_bias)
    twin = nn.RNN(V, H, nonlinearity=activation).double()
    ours = [cell.input_to_hidden, cell.hidden_to_hidden, cell.hidden_bias]
    with torch.no_grad():
        for weight, value in zip(twin.parameters(), (*ours, torch.zeros(H)), strict=True):
            weight.copy_(value)
    ids_TB = torch.randint(V, (steps, B))
    ids_TB[0, 1] = V  # a missing character
    x = ids_TB if reads_ids else torch.randn(steps, B, V, dtype=torch.float64)
    x_TBV = torch.eye(V + 1, V, dtype=torch.float64)[ids_TB] if reads_ids else x
    state = torch.linspace(-1, 1, B * H, dtype=torch.float64).view(B, H).requires_grad_()
    twin_state = state.detach().clone().requires_grad_()
    outputs, last = cell.unroll(x, state)
    twin_outputs, twin_last = twin(x_TBV, twin_state[None])
    torch.testing.assert_close(outputs, twin_outputs)
    torch.testing.assert_close(last, twin_last[0])
    stepped, _ = cell.step(x[0], state)
    torch.testing.assert_close(stepped, outputs[0])
    weighting = torch.randn(steps, B, H, dtype=torch.float64)
    gradients = torch.autograd.grad((outputs * weighting).sum(), (*ours, state))
    *theirs, _ = twin.parameters()
    for our, their in zip(
        gradients, torch.autograd.grad((twin_outputs * weighting).sum(), (*theirs, twin_state)), strict=True
    ):
        torch.testing.assert_close(our, their)


def test_an_id_outside_the_vocabulary_is_an_error_when_nothing_is_trained() -> None:
    cell, x_TB, state_BS = make_cell().eval(), torch.full((2, B), V), torch.zeros(B, H, dtype=torch.float64)
    for read in (lambda: cell.unroll(x_TB, state_BS), lambda: cell.step(x_TB[0], state_BS)):
        with pytest.raises(IndexError):
            read()


def test_initialization() -> None:
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


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(RequestError, match="at least one time step"):
        make_cell().unroll(torch.zeros(0, B, dtype=torch.int64), torch.zeros(B, H, dtype=torch.float64))
