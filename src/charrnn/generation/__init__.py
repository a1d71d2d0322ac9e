"""A prompt in, text out: one symbol after the other."""

from charrnn.generation.generate import generate_text

__all__ = ["generate_text"]
