"""Looking inside a recurrent network: pure functions, numbers out.

`weights`: spectrum of W_hh, size of the updates. `states`: saturation, dead units, norm. `flow`: the gradient by time
lag and the Lyapunov exponent. `memory`: how much of the past a prediction uses.
"""
