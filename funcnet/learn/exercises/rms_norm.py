"""RMS normalization.

Each row of x is divided by the root of its mean square, then scaled (Zhang & Sennrich 2019):

    r = √(mean(x²) + ε),   x̂ = x/r,   y = γ x̂

with the mean along the last axis. x reaches x̂ along two paths, directly and through r. Find dx and dγ.
"""

import numpy as np
from jaxtyping import Float


def rms_norm_forward(x: Float[np.ndarray, "N D"], gamma: Float[np.ndarray, "D"], eps=1e-5):
    square = (x**2).mean(axis=-1, keepdims=True)
    r = np.sqrt(square + eps)
    xhat = x / r
    y = gamma * xhat
    return y, (xhat, r, gamma)


def rms_norm_backward(dy, cache):
    """γ is shared by the rows: dγ = Σ_n dy x̂. With d = γ dy, the direct path gives d/r.

    Through r: ∂x̂_i/∂r = −x̂_i/r and ∂r/∂x_j = x_j/(D r) = x̂_j/D. Together −x̂_j/r · mean(d x̂).

    d = γ dy,   dx = (d − x̂ mean(d x̂)) / r,   dγ = Σ_n dy x̂
    """
    xhat, r, gamma = cache
    d = gamma * dy
    dx = (d - xhat * (d * xhat).mean(axis=-1, keepdims=True)) / r
    dgamma = (dy * xhat).sum(axis=0)
    return dx, dgamma
