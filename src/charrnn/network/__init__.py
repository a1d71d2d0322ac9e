"""The networks: `CharRNN`, its cells, and the implementations of the recurrence. No Lightning, no Hydra, no files."""

from charrnn.network.char_rnn import CharRNN

__all__ = ["CharRNN"]
