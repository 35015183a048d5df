"""A squared error with a penalty on large weights (ridge regression).

    loss = 1/N Σ_n (x_n·w − t_n)² + λ/2 Σ_d w_d²,   λ = 0.1

w appears in both terms: add what each contributes. Find dw.
"""

import numpy as np
from jaxtyping import Float


def l2_penalty_forward(w: Float[np.ndarray, "D"], x: Float[np.ndarray, "N D"], t: Float[np.ndarray, "N"], strength=0.1):
    error = x @ w - t
    fit = np.mean(error**2)
    penalty = 0.5 * strength * np.sum(w**2)
    loss = fit + penalty
    return loss, (w, x, error, strength)


def l2_penalty_backward(dloss, cache):
    """The mean of squares: 2 error_n/N for each row, and the error moves by x_nd: together 2/N xᵀ error.

    The penalty: λ/2 · 2 w = λ w. Both reach the loss, and their gradients add up.

    dw = dloss (2/N xᵀ (x w − t) + λ w)
    """
    w, x, error, strength = cache
    dw = dloss * (2 * x.T @ error / len(error) + strength * w)
    return dw
