import pytest
import torch

from charrnn.network.gated import GatedCell
from charrnn.utils.errors import RequestError

V, H, B, T = 7, 5, 3, 6


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("reads_ids", [True, False])
def test_steps_equal_one_unroll_and_both_equal_torch(kind: str, reads_ids: bool) -> None:
    cell = GatedCell(kind, V, H, reads_ids=reads_ids).double()
    ids_TB = torch.randint(V, (T, B))
    ids_TB[2, 1] = V  # a missing character
    x = ids_TB if reads_ids else torch.randn(T, B, V, dtype=torch.float64)
    state = torch.randn(B, cell.state_size, dtype=torch.float64)
    outputs, last = cell.unroll(x, state)
    vectors = torch.eye(V + 1, V, dtype=torch.float64)[ids_TB] if reads_ids else x
    states = [half[None].contiguous() for half in state.split(H, dim=-1)]
    expected, expected_last = cell.layer(vectors, tuple(states) if kind == "lstm" else states[0])
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, torch.cat(expected_last, dim=-1)[0] if kind == "lstm" else expected_last[0])
    for t in range(T):
        output, state = cell.step(x[t], state)
        torch.testing.assert_close(output, outputs[t])
    torch.testing.assert_close(state, last)


def test_initialization() -> None:
    cell = GatedCell("lstm", V, H, reads_ids=True)
    for gate in cell.layer.weight_hh_l0.split(H):
        torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
    assert cell.layer.bias_ih_l0[H : 2 * H].tolist() == [1.0] * H
    assert GatedCell("gru", V, H, reads_ids=True).state_size == H
    assert cell.state_size == 2 * H


def test_invalid_settings_and_empty_sequences_are_refused() -> None:
    with pytest.raises(RequestError, match="hidden must be a positive integer, got 0"):
        GatedCell("gru", V, 0, reads_ids=True)
    with pytest.raises(RequestError, match="at least one time step"):
        GatedCell("gru", V, H, reads_ids=True).unroll(torch.zeros(0, B, dtype=torch.int64), torch.zeros(B, H))
