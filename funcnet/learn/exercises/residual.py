"""A residual block.

A layer is added to what it gets (He et al. 2016):

    y = x + tanh(x w + b)

x reaches y along two paths. Find dx, dw and db.
"""

import numpy as np
from jaxtyping import Float


def residual_forward(x: Float[np.ndarray, "N D"], w: Float[np.ndarray, "D D"], b: Float[np.ndarray, "D"]):
    h = np.tanh(x @ w + b)
    y = x + h
    return y, (x, w, h)


def residual_backward(dy, cache):
    """Along the layer: da = dy (1 − h²), as the slope of tanh is 1 − tanh²; then da wᵀ, xᵀ da and Σ_n da.

    Past the layer: x is added, with slope 1, so dy comes back as it is. The gradients of both paths add up.

    da = dy (1 − h²),   dx = dy + da wᵀ,   dw = xᵀ da,   db = Σ_n da
    """
    x, w, h = cache
    da = dy * (1 - h**2)
    dx = dy + da @ w.T
    dw = x.T @ da
    db = da.sum(axis=0)
    return dx, dw, db
