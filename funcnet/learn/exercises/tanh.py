"""The hyperbolic tangent.

Element by element, a number becomes one between −1 and 1:

    y = tanh(x) = (exp(x) − exp(−x)) / (exp(x) + exp(−x))

Find dy/dx in terms of y, which is what the forward saves.
"""

import numpy as np
from jaxtyping import Float


def tanh_forward(x: Float[np.ndarray, "N D"]):
    y = np.tanh(x)
    return y, y


def tanh_backward(dy, cache):
    """tanh = sinh/cosh, and each is the derivative of the other: (cosh² − sinh²)/cosh² = 1 − tanh².

    dx = dy (1 − y²)
    """
    y = cache
    dx = dy * (1 - y**2)
    return dx
