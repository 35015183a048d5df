"""One neuron.

It weighs its inputs and adds a bias. x and w hold D numbers each, b and y are single numbers:

    y = Σ_i w_i x_i + b

You are given dy = ∂L/∂y, how fast some loss L grows with y. By the chain rule dx_i = dy ∂y/∂x_i, and so on: find the
three derivatives of y, and multiply each by dy.
"""

import numpy as np
from jaxtyping import Float


def neuron_forward(x: Float[np.ndarray, "D"], w: Float[np.ndarray, "D"], b: Float[np.ndarray, ""]):
    y = w @ x + b
    return y, (x, w)


def neuron_backward(dy, cache):
    """y is linear in everything: ∂y/∂x_i = w_i, ∂y/∂w_i = x_i, ∂y/∂b = 1. The chain rule multiplies each by dy.

    dx = dy w,   dw = dy x,   db = dy
    """
    x, w = cache
    dx = dy * w
    dw = dy * x
    db = dy
    return dx, dw, db
