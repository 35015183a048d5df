"""Two layers.

A dense layer, tanh, and another dense layer:

    h = tanh(x w1 + b1),   y = h w2 + b2

Go backward: first dw2, db2 and dh from dy, as in one dense layer; then through tanh, whose slope you can write in terms
of h; then the first layer, as if what came back from above were its dy.
"""

import numpy as np
from jaxtyping import Float


def two_layers_forward(
    x: Float[np.ndarray, "N D"],
    w1: Float[np.ndarray, "D H"],
    b1: Float[np.ndarray, "H"],
    w2: Float[np.ndarray, "H M"],
    b2: Float[np.ndarray, "M"],
):
    h = np.tanh(x @ w1 + b1)
    y = h @ w2 + b2
    return y, (x, w1, h, w2)


def two_layers_backward(dy, cache):
    """The upper layer is a dense layer with the input h: dh = dy w2ᵀ, dw2 = hᵀ dy, db2 = Σ_n dy.

    tanh works on each element, with the slope 1 − tanh² = 1 − h²: the gradient before it is da = dh (1 − h²). The lower
    layer is a dense layer again, with da in the place of dy.

    da = (dy w2ᵀ)(1 − h²),   dx = da w1ᵀ,   dw1 = xᵀ da,   db1 = Σ_n da,   dw2 = hᵀ dy,   db2 = Σ_n dy
    """
    x, w1, h, w2 = cache
    dw2 = h.T @ dy
    db2 = dy.sum(axis=0)
    da = (dy @ w2.T) * (1 - h**2)
    dx = da @ w1.T
    dw1 = x.T @ da
    db1 = da.sum(axis=0)
    return dx, dw1, db1, dw2, db2
