"""The networks: `CharRNN`, its cells, and the kernels of the recurrence. No Lightning, no Hydra, no files."""

from charrnn.network.char_rnn import CharRNN

__all__ = ["CharRNN"]
