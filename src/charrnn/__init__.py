"""charrnn: character-level recurrent networks, the plain (Elman) RNN first of all."""

__version__ = "0.1.0"
