"""Batch normalization, as in training.

Each column of x is brought to mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe & Szegedy 2015):

    μ = mean(x),   v = mean((x − μ)²),   x̂ = (x − μ)/√(v + ε),   y = γ x̂ + β

with means over the N examples. So every example takes part in what becomes of the others: x reaches x̂ directly, through
μ and through v.
"""

import numpy as np
from jaxtyping import Float


def batch_norm_forward(
    x: Float[np.ndarray, "N D"], gamma: Float[np.ndarray, "D"], beta: Float[np.ndarray, "D"], eps=1e-5
):
    mu = x.mean(axis=0)
    centred = x - mu
    var = (centred**2).mean(axis=0)
    std = np.sqrt(var + eps)
    xhat = centred / std
    y = gamma * xhat + beta
    return y, (xhat, std, gamma)


def batch_norm_backward(dy, cache):
    """dβ = Σ_n dy and dγ = Σ_n dy x̂; d = γ dy is the gradient of x̂. All means are over the batch.

    Directly: d/√(v + ε). Through μ, which every example shares: −mean(d)/√(v + ε). Through v: ∂x̂/∂v = −x̂/(2 (v + ε))
    and ∂v/∂x_n = 2 (x_n − μ)/N, together −x̂ mean(d x̂)/√(v + ε).

    d = γ dy,   dx = (d − mean(d) − x̂ mean(d x̂)) / √(v + ε),   dγ = Σ_n dy x̂,   dβ = Σ_n dy
    """
    xhat, std, gamma = cache
    d = gamma * dy
    dx = (d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)) / std
    dgamma = (dy * xhat).sum(axis=0)
    dbeta = dy.sum(axis=0)
    return dx, dgamma, dbeta
