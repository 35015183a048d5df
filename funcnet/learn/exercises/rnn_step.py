"""One step of a recurrent network.

The new state is made of the input and of the state before (Elman 1990):

    h' = tanh(x wx + h wh + b)

x is (N, D), h and h' are (N, H). Find all five gradients. dnext is the gradient of h'.
"""

import numpy as np
from jaxtyping import Float


def rnn_step_forward(
    x: Float[np.ndarray, "N D"],
    h: Float[np.ndarray, "N H"],
    wx: Float[np.ndarray, "D H"],
    wh: Float[np.ndarray, "H H"],
    b: Float[np.ndarray, "H"],
):
    new = np.tanh(x @ wx + h @ wh + b)
    return new, (x, h, wx, wh, new)


def rnn_step_backward(dnext, cache):
    """With a = x wx + h wh + b, da = dnext (1 − h'²). a is the sum of two dense layers: each gets da for its dy.

    da = dnext (1 − h'²),   dx = da wxᵀ,   dh = da whᵀ,   dwx = xᵀ da,   dwh = hᵀ da,   db = Σ_n da
    """
    x, h, wx, wh, new = cache
    da = dnext * (1 - new**2)
    dx = da @ wx.T
    dh = da @ wh.T
    dwx = x.T @ da
    dwh = h.T @ da
    db = da.sum(axis=0)
    return dx, dh, dwx, dwh, db
