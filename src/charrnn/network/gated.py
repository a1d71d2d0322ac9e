"""The gated layers that the plain one is compared with: PyTorch's own GRU and LSTM behind the same contract.

B batch lane, T time step, H hidden unit, S state size of one layer (H for the GRU; 2 H for the LSTM, h and c).
"""

from typing import Any

import torch
from torch import Tensor, nn

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer

LAYERS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class GatedCell(nn.Module):
    """A GRU (Cho 2014) or LSTM (Hochreiter and Schmidhuber 1997) layer, computed by `torch.nn.GRU` or `torch.nn.LSTM`.

    With `reads_ids` an id below `inputs` stands for the one-hot vector. The recurrent weights of every gate start
    orthogonal, and the LSTM's forget gate with bias 1 (Jozefowicz 2015). Raises `RequestError` for settings it cannot
    use.
    """

    def __init__(self, kind: str, inputs: int, hidden: int, *, reads_ids: bool) -> None:
        super().__init__()
        self.inputs = require_integer("inputs", inputs)
        self.hidden = require_integer("hidden", hidden)
        self.reads_ids = reads_ids
        self.layer: Any = LAYERS[kind](inputs, hidden)
        self.state_size = 2 * hidden if isinstance(self.layer, nn.LSTM) else hidden
        _, weight_hh, bias_ih, _ = self.layer.all_weights[0]
        with torch.no_grad():
            for gate_HH in weight_hh.split(hidden):
                nn.init.orthogonal_(gate_HH)
            if isinstance(self.layer, nn.LSTM):
                bias_ih[hidden : 2 * hidden] = 1.0  # gates in torch's order: i, f, g, o

    def step(self, x_B: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: x_t and the state in, the layer's output h_t and its new state out."""
        outputs_TBH, state_BS = self.unroll(x_B[None], state_BS)
        return outputs_TBH[0], state_BS

    def unroll(self, x_T: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """T time steps: ids [T, B] or vectors [T, B, inputs] in, outputs [T, B, H] and the last state [B, S] out."""
        if not len(x_T):
            raise RequestError("a sequence needs at least one time step, got none")
        if self.reads_ids:
            x_T = nn.functional.one_hot(x_T, self.inputs).to(state_BS.dtype)
        if isinstance(self.layer, nn.GRU):
            outputs_TBH, state_1BH = self.layer(x_T, state_BS[None].contiguous())
            return outputs_TBH, state_1BH[0]
        h_BH, c_BH = (part.contiguous()[None] for part in state_BS.split(self.hidden, dim=-1))
        outputs_TBH, (h_1BH, c_1BH) = self.layer(x_T, (h_BH, c_BH))
        return outputs_TBH, torch.cat([h_1BH[0], c_1BH[0]], dim=-1)
