"""The leaky rectifier.

Element by element, negative numbers are not cut off but made smaller:

    y = x  where x > 0,   y = a x  elsewhere

a is a fixed small number, here 0.1. What is the slope on either side?
"""

import numpy as np
from jaxtyping import Float


def leaky_relu_forward(x: Float[np.ndarray, "N D"], a=0.1):
    y = np.where(x > 0, x, a * x)
    return y, (x, a)


def leaky_relu_backward(dy, cache):
    """The slope is 1 where x > 0 and a elsewhere: nothing is stopped, some of it is made smaller.

    dx = dy where x > 0,   dx = a dy elsewhere
    """
    x, a = cache
    dx = np.where(x > 0, dy, a * dy)
    return dx
