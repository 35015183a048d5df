"""Attention with several heads.

x is (T, D). Three products make queries, keys and values of it; their columns are split among two heads; each head
attends on its own; the results stand side by side again, and a last product mixes them:

    q, k, v = heads(x w₀), heads(x w₁), heads(x w₂),   p = softmax(q kᵀ / √d),   y = joined(p v) wo

w is (3, D, D), wo is (D, D), heads(a) is (2, T, d) with d = D/2, and joined undoes it: heads and joined only reorder,
so what comes back through one goes through the other.
"""

import numpy as np
from jaxtyping import Float


def heads(a):
    return a.reshape(len(a), 2, -1).swapaxes(0, 1)


def joined(a):
    return a.swapaxes(0, 1).reshape(a.shape[1], -1)


def multi_head_forward(x: Float[np.ndarray, "T D"], w: Float[np.ndarray, "3 D D"], wo: Float[np.ndarray, "D D"]):
    q, k, v = heads(x @ w[0]), heads(x @ w[1]), heads(x @ w[2])
    scale = 1 / np.sqrt(q.shape[-1])
    s = q @ k.swapaxes(-1, -2) * scale
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    o = joined(p @ v)
    y = o @ wo
    return y, (x, w, wo, q, k, v, p, o, scale)


def multi_head_backward(dy, cache):
    """The last product: dwo = oᵀ dy, and d = heads(dy woᵀ) is the gradient of p v, as joined is undone by heads.

    In each head, as in attention: dv = pᵀ d, dp = d vᵀ, ds = p (dp − Σ p dp), dq = ds k/√d, dk = dsᵀ q/√d.
    Joined again, they are the dy of three dense layers on the same x, whose gradients of x add up.

    dw = (xᵀ joined(dq), xᵀ joined(dk), xᵀ joined(dv)),   dwo = oᵀ dy
    dx = joined(dq) w₀ᵀ + joined(dk) w₁ᵀ + joined(dv) w₂ᵀ
    """
    x, w, wo, q, k, v, p, o, scale = cache
    dwo = o.T @ dy
    d = heads(dy @ wo.T)
    dv = p.swapaxes(-1, -2) @ d
    dp = d @ v.swapaxes(-1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq = ds @ k * scale
    dk = ds.swapaxes(-1, -2) @ q * scale
    parts = [joined(dq), joined(dk), joined(dv)]
    dw = np.stack([x.T @ part for part in parts])
    dx = sum(part @ w[i].T for i, part in enumerate(parts))
    return dx, dw, dwo
