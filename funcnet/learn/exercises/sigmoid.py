"""The sigmoid function.

Element by element, a number becomes one between 0 and 1:

    y = 1 / (1 + exp(−x))

Find dy/dx. It can be written in terms of y alone, so y is all that the forward saves.
"""

import numpy as np
from jaxtyping import Float


def sigmoid_forward(x: Float[np.ndarray, "N D"]):
    y = 1 / (1 + np.exp(-x))
    return y, y


def sigmoid_backward(dy, cache):
    """With e = exp(−x), y = 1/(1 + e) has the derivative e/(1 + e)² = 1/(1 + e) · e/(1 + e), and e/(1 + e) = 1 − y.

    dx = dy y (1 − y)
    """
    y = cache
    dx = dy * y * (1 - y)
    return dx
