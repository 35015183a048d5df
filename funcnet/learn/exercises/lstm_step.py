"""One step of an LSTM.

A cell c keeps what the gates let through (Hochreiter & Schmidhuber 1997; Gers et al. 2000):

    a_k = x w_k + h u_k + b_k  for k = 0 … 3,   i = σ(a₀),   f = σ(a₁),   o = σ(a₂),   g = tanh(a₃)
    c' = f c + i g,   h' = o tanh(c')

w is (4, D, H), u is (4, H, H), b is (4, H), σ is the sigmoid function; a, (4, N, H), holds the four side by side, as @
works on each matrix of a stack. The step has two results, h' and c', so the
backward gets two gradients, dh_next and dc_next. But c' also reaches the loss through h'.
"""

import numpy as np
from jaxtyping import Float


def lstm_step_forward(
    x: Float[np.ndarray, "N D"],
    h: Float[np.ndarray, "N H"],
    c: Float[np.ndarray, "N H"],
    w: Float[np.ndarray, "4 D H"],
    u: Float[np.ndarray, "4 H H"],
    b: Float[np.ndarray, "4 H"],
):
    a = x @ w + h @ u + b[:, None]
    i, f, o = 1 / (1 + np.exp(-a[:3]))
    g = np.tanh(a[3])
    cell = f * c + i * g
    t = np.tanh(cell)
    new = o * t
    return new, cell, (x, h, c, w, u, i, f, o, g, t)


def lstm_step_backward(dh_next, dc_next, cache):
    """h' = o tanh(c') gives do = dh' tanh(c'), and to c' the gradient dh' o (1 − tanh²(c')), beside dc' itself: call
    the sum dcell. Then c' = f c + i g gives df = dcell c, dc = dcell f, di = dcell g, dg = dcell i.

    Through the sigmoids, with slope s (1 − s), and through tanh, with slope 1 − g²: the gradients da_k of the four
    sums. Each is a pair of dense layers.

    dcell = dc' + dh' o (1 − tanh²(c')),   dc = dcell f
    da = (dcell g i (1 − i), dcell c f (1 − f), dh' tanh(c') o (1 − o), dcell i (1 − g²))
    dx = Σ_k da_k w_kᵀ,   dh = Σ_k da_k u_kᵀ,   dw_k = xᵀ da_k,   du_k = hᵀ da_k,   db_k = Σ_n da_k
    """
    x, h, c, w, u, i, f, o, g, t = cache
    dcell = dc_next + dh_next * o * (1 - t**2)
    dc = dcell * f
    di, df, do, dg = dcell * g, dcell * c, dh_next * t, dcell * i
    da = np.stack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dx = (da @ w.swapaxes(1, 2)).sum(axis=0)
    dh = (da @ u.swapaxes(1, 2)).sum(axis=0)
    dw = x.T @ da
    du = h.T @ da
    db = da.sum(axis=1)
    return dx, dh, dc, dw, du, db
