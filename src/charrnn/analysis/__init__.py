"""Inside a recurrent network: functions that return numbers, and draw nothing.

`weights`: spectrum of W_hh, size of the updates. `states`: saturation, dead units, norm. `gradient_flow`: the gradient
by time lag and the Lyapunov exponent. `memory`: how much of the past a prediction uses. `units`: what a unit responds
to. `summary`: the most important of these for one network.
"""
