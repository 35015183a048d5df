"""Layer normalization.

Each row of x is brought to mean 0 and variance 1, then scaled and shifted (Ba, Kiros & Hinton 2016):

    μ = mean(x),   v = mean((x − μ)²),   x̂ = (x − μ)/√(v + ε),   y = γ x̂ + β

with means along the last axis. γ and β are the easy part. For x, begin with d = ∂L/∂x̂ and go backward through the
formula: x reaches x̂ along three paths, directly, through μ and through v.
"""

import numpy as np
from jaxtyping import Float


def layer_norm_forward(
    x: Float[np.ndarray, "N D"], gamma: Float[np.ndarray, "D"], beta: Float[np.ndarray, "D"], eps=1e-5
):
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred**2).mean(axis=-1, keepdims=True)
    std = np.sqrt(var + eps)
    xhat = centred / std
    y = gamma * xhat + beta
    return y, (xhat, std, gamma)


def layer_norm_backward(dy, cache):
    """γ and β are shared by the rows: dγ = Σ_n dy x̂ and dβ = Σ_n dy. Then d = γ dy is the gradient of x̂.

    Through v: ∂x̂_i/∂v = −x̂_i / (2 (v + ε)) and ∂v/∂x_j = 2 (x_j − μ)/D, so this path gives
    −x̂_j mean(d x̂)/√(v + ε). (That v also depends on μ gives nothing: Σ (x − μ) = 0.)
    Directly: d_j/√(v + ε). Through μ: every x̂_i moves by −1/√(v + ε), and ∂μ/∂x_j = 1/D: −mean(d)/√(v + ε).

    d = γ dy,   dx = (d − mean(d) − x̂ mean(d x̂)) / √(v + ε),   dγ = Σ_n dy x̂,   dβ = Σ_n dy
    """
    xhat, std, gamma = cache
    d = gamma * dy
    dx = (d - d.mean(axis=-1, keepdims=True) - xhat * (d * xhat).mean(axis=-1, keepdims=True)) / std
    dgamma = (dy * xhat).sum(axis=0)
    dbeta = dy.sum(axis=0)
    return dx, dgamma, dbeta
