"""A layer of neurons, on one example.

M neurons look at the same x. Neuron m has row m of w for its weights: w is (M, D), x is (D,), y and b are (M,).

    y = w x + b,   y_m = Σ_d w_md x_d + b_m

Every x_d takes part in all M results: its gradient is a sum over them. dw has the shape of w: which dy and which x does
dw_md hold?
"""

import numpy as np
from jaxtyping import Float


def one_example_forward(x: Float[np.ndarray, "D"], w: Float[np.ndarray, "M D"], b: Float[np.ndarray, "M"]):
    y = w @ x + b
    return y, (x, w)


def one_example_backward(dy, cache):
    """∂y_m/∂x_d = w_md, so dx_d = Σ_m dy_m w_md, which is the product wᵀ dy.

    w_md takes part in y_m alone, with the factor x_d: dw_md = dy_m x_d, the outer product of dy and x.

    dx = wᵀ dy,   dw = dy xᵀ,   db = dy
    """
    x, w = cache
    dx = w.T @ dy
    dw = np.outer(dy, x)
    db = dy
    return dx, dw, db
