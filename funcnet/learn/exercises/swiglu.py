"""SwiGLU: a gated layer.

Two products of the same x; one, through SiLU, is the gate of the other (Shazeer 2020):

    g = x wg,   u = x wu,   s = σ(g),   y = (g s u) wo

with σ the sigmoid function. Go backward one product at a time. x is used twice.
"""

import numpy as np
from jaxtyping import Float


def swiglu_forward(
    x: Float[np.ndarray, "N D"],
    wg: Float[np.ndarray, "D H"],
    wu: Float[np.ndarray, "D H"],
    wo: Float[np.ndarray, "H M"],
):
    g = x @ wg
    u = x @ wu
    s = 1 / (1 + np.exp(-g))
    h = g * s * u
    y = h @ wo
    return y, (x, wg, wu, wo, g, u, s, h)


def swiglu_backward(dy, cache):
    """The last product: dh = dy woᵀ, dwo = hᵀ dy. Then h = (g s) u: du = dh g s, and the gate gets dh u.

    The slope of SiLU, g σ(g), is s + g s (1 − s): dg = dh u (s + g s (1 − s)).
    Both products take x: their gradients of it add up.

    dh = dy woᵀ,   du = dh g s,   dg = dh u (s + g s (1 − s))
    dx = dg wgᵀ + du wuᵀ,   dwg = xᵀ dg,   dwu = xᵀ du,   dwo = hᵀ dy
    """
    x, wg, wu, wo, g, u, s, h = cache
    dwo = h.T @ dy
    dh = dy @ wo.T
    du = dh * g * s
    dg = dh * u * (s + g * s * (1 - s))
    dx = dg @ wg.T + du @ wu.T
    dwg = x.T @ dg
    dwu = x.T @ du
    return dx, dwg, dwu, dwo
