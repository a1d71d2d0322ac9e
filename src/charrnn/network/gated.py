"""Gated layers to compare the plain RNN with: PyTorch's GRU and LSTM, with the interface of `ElmanCell`.

B lane, T time step, H hidden unit, S state size of one layer (H for the GRU; 2 H for the LSTM, h and c).
"""

from typing import Any

import torch
from torch import Tensor, nn

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer

LAYERS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class GatedCell(nn.Module):
    """A GRU (Cho 2014) or LSTM (Hochreiter and Schmidhuber 1997) layer, computed by `torch.nn.GRU` or `torch.nn.LSTM`.

    With `reads_ids`, an id below `inputs` represents a one-hot vector, the id `inputs` a missing character, a vector of
    zeros. Each gate's recurrent weights are initialized as an orthogonal matrix, the bias of the LSTM's forget gate as
    1 (Jozefowicz 2015). Raises `RequestError` for invalid settings.
    """

    def __init__(self, kind: str, inputs: int, hidden: int, *, reads_ids: bool) -> None:
        super().__init__()
        self.inputs = require_integer("inputs", inputs)
        self.hidden = hidden = require_integer("hidden", hidden)
        self.reads_ids = reads_ids
        self.layer: Any = LAYERS[kind](inputs, hidden)
        self.state_size = 2 * hidden if isinstance(self.layer, nn.LSTM) else hidden
        _, weight_hh, bias_ih, _ = self.layer.all_weights[0]
        with torch.no_grad():
            for gate_HH in weight_hh.split(hidden):
                nn.init.orthogonal_(gate_HH)
            if isinstance(self.layer, nn.LSTM):
                bias_ih[hidden : 2 * hidden] = 1.0  # torch orders the gates i, f, g, o

    def step(self, x_B: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step: return the output h_t, [B, H], and the new state, [B, S]."""
        outputs_TBH, state_BS = self.unroll(x_B[None], state_BS)
        return outputs_TBH[0], state_BS

    def unroll(self, x_T: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, [T, B, H], and last state, [B, S], for ids, [T, B], or vectors, [T, B, inputs]."""
        if not len(x_T):
            raise RequestError("a sequence needs at least one time step, got none")
        if self.reads_ids:
            x_T = nn.functional.one_hot(x_T, self.inputs + 1)[..., :-1].to(state_BS.dtype)
        if isinstance(self.layer, nn.GRU):
            outputs_TBH, state_1BH = self.layer(x_T, state_BS[None].contiguous())
            return outputs_TBH, state_1BH[0]
        h_1BH, c_1BH = (half.contiguous()[None] for half in state_BS.split(self.hidden, dim=-1))
        outputs_TBH, (h_1BH, c_1BH) = self.layer(x_T, (h_1BH, c_1BH))
        return outputs_TBH, torch.cat([h_1BH[0], c_1BH[0]], dim=-1)
