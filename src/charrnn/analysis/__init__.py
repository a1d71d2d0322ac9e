"""Diagnostics of a recurrent network: functions that return numbers and draw nothing.

`weights`: spectrum of W_hh, size of the updates. `states`: saturation, dead units, norm. `gradient_flow`: gradient by
time lag, Lyapunov exponent. `memory`: how much context a prediction uses. `units`: which feature of the text each unit
follows. `summary`: the most important of these for one network.
"""
