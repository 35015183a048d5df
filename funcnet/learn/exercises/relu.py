"""The rectifier (ReLU).

Element by element, negative numbers become 0:

    y = max(x, 0)

What is the slope where x is positive, and where it is negative? (At exactly 0 there is a kink; any slope between the
two will do, and 0 is usual.)
"""

import numpy as np
from jaxtyping import Float


def relu_forward(x: Float[np.ndarray, "N D"]):
    y = np.maximum(x, 0)
    return y, x


def relu_backward(dy, cache):
    """Where x > 0 y is x, with slope 1; where x < 0 y is the constant 0, with slope 0. It is x that decides, not dy.

    dx = dy [x > 0]
    """
    x = cache
    dx = dy * (x > 0)
    return dx
