"""The plain recurrent layer: its parameters, their initialization, one step and the unrolled recurrence.

B lane, T time step, V vocabulary, H hidden unit, S state size of one layer (H for the Elman cell).
"""

import torch
from torch import Tensor, nn

from charrnn.network.linear import linear
from charrnn.network.recurrence import ACTIVATIONS, KERNELS, elman_scan
from charrnn.network.recurrence.reference import PHI
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice, require_integer, require_number

RECURRENT_INITS = ("auto", "orthogonal", "identity")
ONE_HOT_INPUTS = 512  # with more symbols, one-hot vectors cost a GPU more than a lookup


class ElmanCell(nn.Module):
    """The plain recurrent layer: h_t = phi(W_xh x_t + W_hh h_{t-1} + b_h), h_0 = 0. Source: Elman 1990.

    With `reads_ids`, x_t is an id below `inputs` that represents a one-hot vector, so W_xh x_t is a column of W_xh, a
    lookup. In training the id `inputs` is a missing character: x_t = 0. Otherwise x_t is a vector of `inputs` numbers,
    the output of the layer below.
    Parameters: `input_to_hidden` [H, inputs], `hidden_to_hidden` [H, H], `hidden_bias` [H].

    W_hh is initialized as `recurrent_gain` times an orthogonal matrix (Saxe 2014) or the identity (Le 2015); `auto`
    uses the first for tanh and the second for relu. W_xh is normal, with standard deviation `input_std` for ids (each
    reads one column) and 1/sqrt(inputs) for vectors. Raises `RequestError` for invalid settings.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        reads_ids: bool,
        activation: str = "relu",
        kernel: str = "auto",
        recurrent_init: str = "auto",
        recurrent_gain: float = 0.8,
        input_std: float = 0.5,
    ) -> None:
        super().__init__()
        self.inputs = require_integer("inputs", inputs)
        self.state_size = self.hidden = hidden = require_integer("hidden", hidden)
        self.reads_ids = reads_ids
        self.activation = require_choice("activation", activation, ACTIVATIONS)
        self.kernel = require_choice("kernel", kernel, ("auto", *KERNELS))
        require_choice("recurrent_init", recurrent_init, RECURRENT_INITS)
        require_number("recurrent_gain", recurrent_gain, 0.0)
        require_number("input_std", input_std, 0.0)
        self.input_to_hidden = nn.Parameter(torch.empty(hidden, inputs))
        self.hidden_to_hidden = nn.Parameter(torch.eye(hidden) * recurrent_gain)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        nn.init.normal_(self.input_to_hidden, std=input_std if reads_ids else inputs**-0.5)
        if recurrent_init == "orthogonal" or (recurrent_init == "auto" and activation == "tanh"):
            nn.init.orthogonal_(self.hidden_to_hidden, gain=recurrent_gain)

    def project(self, x: Tensor) -> Tensor:
        """Return W_xh x + b_h, [..., H], for ids, [...], or vectors, [..., inputs]."""
        if not self.reads_ids:
            return linear(x, self.input_to_hidden, self.hidden_bias, self.kernel)
        if x.device.type == "cuda" and self.inputs <= ONE_HOT_INPUTS:
            # The gradient of a product is a product; that of a lookup would sort the ids, or add in a varying order.
            one_hot = torch.eye(self.inputs + 1, self.inputs, dtype=self.input_to_hidden.dtype, device=x.device)[x]
            return nn.functional.linear(one_hot, self.input_to_hidden, self.hidden_bias)
        # Add the bias to the table: V rows are fewer than T * B. Contiguous, so that a lookup reads one row.
        table_VH = self.input_to_hidden.t() + self.hidden_bias
        table_VH = torch.cat([table_VH, self.hidden_bias[None]]) if self.training else table_VH.contiguous()
        if x.device.type == "cpu":  # its gradient is several times faster than that of `embedding` on a CPU
            return table_VH.index_select(0, x.flatten()).view(*x.shape, self.hidden)
        return nn.functional.embedding(x, table_VH)

    def step(self, x_B: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step from x_t and h_{t-1}: return the output h_t and the new state, the same tensor."""
        # Read columns of W_xh directly: building the table of `project` would cost more than the step.
        read_columns = self.reads_ids and not self.training
        inputs_BH = self.input_to_hidden[:, x_B].t() + self.hidden_bias if read_columns else self.project(x_B)
        state_BH = PHI[self.activation](torch.addmm(inputs_BH, state_BS, self.hidden_to_hidden.t()))
        return state_BH, state_BH

    def unroll(self, x_T: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, [T, B, H], and last state, [B, S], for ids, [T, B], or vectors, [T, B, inputs]."""
        if not len(x_T):
            raise RequestError("a sequence needs at least one time step, got none")
        states_TBH = elman_scan(self.project(x_T), state_BS, self.hidden_to_hidden, self.activation, self.kernel)
        return states_TBH, states_TBH[-1]
