"""Dropout, with the mask given.

Some elements are left out, and the others made larger, so that the mean stays what it was (Srivastava et al. 2014):

    y = x · mask / (1 − rate),   rate = 0.25

mask holds True where an element is kept. Find dx.
"""

import numpy as np
from jaxtyping import Bool, Float


def dropout_forward(x: Float[np.ndarray, "N D"], mask: Bool[np.ndarray, "N D"], rate=0.25):
    y = x * mask / (1 - rate)
    return y, (mask, rate)


def dropout_backward(dy, cache):
    """y is x times a number: mask/(1 − rate). The gradient is dy times the same number.

    dx = dy · mask / (1 − rate)
    """
    mask, rate = cache
    dx = dy * mask / (1 - rate)
    return dx
