"""GELU, in the form with tanh.

Element by element (Hendrycks & Gimpel 2016):

    u = c (x + 0.044715 x³),   y = x/2 (1 + tanh u),   c = √(2/π)

The product rule gives two terms, and the second needs the chain rule through u.
"""

import numpy as np
from jaxtyping import Float


def gelu_forward(x: Float[np.ndarray, "N D"]):
    c = np.sqrt(2 / np.pi)
    u = c * (x + 0.044715 * x**3)
    t = np.tanh(u)
    y = 0.5 * x * (1 + t)
    return y, (x, t, c)


def gelu_backward(dy, cache):
    """The product rule: (1 + t)/2 + x/2 dt/dx, with t = tanh u. By the chain rule dt/dx = (1 − t²) du/dx.

    du/dx = c (1 + 3 · 0.044715 x²): the cube has brought down its exponent.

    dx = dy ((1 + t)/2 + x/2 (1 − t²) c (1 + 0.134145 x²))
    """
    x, t, c = cache
    du = c * (1 + 3 * 0.044715 * x**2)
    dx = dy * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * du)
    return dx
