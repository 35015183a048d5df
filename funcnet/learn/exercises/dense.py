"""A dense layer, on a batch.

Each row of x is an example; every neuron takes every input:

    y = x w + b,    yₙₘ = Σ_d xₙ_d w_dₘ + bₘ

You are given dy, the gradient of some loss L with respect to y: dyₙₘ = ∂L/∂yₙₘ. Find dx, dw and db, each in the shape
of its argument. Start from one element: which yₙₘ does w_dₘ take part in, and with which factor? The shapes then tell
which products are possible. The bias is used by every row.
"""

import numpy as np
from jaxtyping import Float


def dense_forward(x: Float[np.ndarray, "N D"], w: Float[np.ndarray, "D M"], b: Float[np.ndarray, "M"]):
    y = x @ w + b
    return y, (x, w)


def dense_backward(dy, cache):
    """x_nd takes part in y_nm for every m, with the factor w_dm: dx_nd = Σ_m dy_nm w_dm, the product dy wᵀ.

    w_dm takes part in y_nm for every row n, with the factor x_nd: dw_dm = Σ_n x_nd dy_nm, the product xᵀ dy.
    b_m is added to every row, with the factor 1: its gradient is the sum over the rows.

    dx = dy wᵀ,   dw = xᵀ dy,   db = Σ_n dy_n
    """
    x, w = cache
    dx = dy @ w.T
    dw = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dw, db
