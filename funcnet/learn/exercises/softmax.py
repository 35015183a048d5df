"""Softmax: scores become probabilities.

Along the last axis,

    y_i = exp(x_i) / Σ_j exp(x_j)

(the forward takes the largest score off first; that changes no y and avoids overflow). Every y_i depends on every x_j
of its row, so the derivative is a matrix: find ∂y_i/∂x_j for i = j and for i ≠ j, in terms of y. Then sum over the
outputs, dx_j = Σ_i dy_i ∂y_i/∂x_j, and look for a form without that matrix.
"""

import numpy as np
from jaxtyping import Float


def softmax_forward(x: Float[np.ndarray, "N K"]):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dy, cache):
    """With s = Σ_j exp(x_j) and y_i = exp(x_i)/s, the quotient rule gives ∂y_i/∂x_j = y_i ([i = j] − y_j).

    dx_j = Σ_i dy_i y_i ([i = j] − y_j) = dy_j y_j − y_j Σ_i dy_i y_i: the sum is one number for each row.

    dx = y (dy − Σ_i dy_i y_i),   the sum along the last axis
    """
    y = cache
    dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    return dx
