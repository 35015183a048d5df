"""One step of a gated recurrent unit.

Gates decide how much of the old state is kept (Cho et al. 2014):

    r = σ(x w₀ + h u₀),   z = σ(x w₁ + h u₁),   m = h u₂,   n = tanh(x w₂ + r m),   h' = (1 − z) n + z h

w is (3, D, H), u is (3, H, H), σ is the sigmoid function. Go backward line by line. h is used four times, x three
times.
"""

import numpy as np
from jaxtyping import Float


def gru_step_forward(
    x: Float[np.ndarray, "N D"],
    h: Float[np.ndarray, "N H"],
    w: Float[np.ndarray, "3 D H"],
    u: Float[np.ndarray, "3 H H"],
):
    r = 1 / (1 + np.exp(-(x @ w[0] + h @ u[0])))
    z = 1 / (1 + np.exp(-(x @ w[1] + h @ u[1])))
    m = h @ u[2]
    n = np.tanh(x @ w[2] + r * m)
    new = (1 - z) * n + z * h
    return new, (x, h, w, u, r, z, m, n)


def gru_step_backward(dnext, cache):
    """From h' = (1 − z) n + z h: dn = dnext (1 − z), dz = dnext (h − n), and h gets dnext z directly.

    Through tanh: dan = dn (1 − n²) is the gradient of x w₂ + r m; so dr = dan m and dm = dan r.
    Through the sigmoids: dar = dr r (1 − r), daz = dz z (1 − z).
    Each of the three sums is a pair of dense layers. h gets something from r, from z, from m and directly.

    dx = dar w₀ᵀ + daz w₁ᵀ + dan w₂ᵀ,   dh = dnext z + dar u₀ᵀ + daz u₁ᵀ + dm u₂ᵀ
    dw = xᵀ (dar, daz, dan),   du = hᵀ (dar, daz, dm)
    """
    x, h, w, u, r, z, m, n = cache
    dan = dnext * (1 - z) * (1 - n**2)
    daz = dnext * (h - n) * z * (1 - z)
    dm = dan * r
    dar = dan * m * r * (1 - r)
    dx = dar @ w[0].T + daz @ w[1].T + dan @ w[2].T
    dh = dnext * z + dar @ u[0].T + daz @ u[1].T + dm @ u[2].T
    dw = np.stack([x.T @ dar, x.T @ daz, x.T @ dan])
    du = np.stack([h.T @ dar, h.T @ daz, h.T @ dm])
    return dx, dh, dw, du
