"""Loops that are compiled for the processor they run on, in float32: what the kernels and the output layer share."""
