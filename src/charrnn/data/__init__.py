"""A text becomes symbols, ids and batches."""

from charrnn.data.batches import CharDataset

__all__ = ["CharDataset"]
