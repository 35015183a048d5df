"""Attention by scaled products.

Each of T queries is compared with S keys, and takes a mean of the S values, weighted by how well they fit (Vaswani et
al. 2017):

    s = q kᵀ / √D,   p = softmax(s)  along the rows,   y = p v

q is (T, D), k is (S, D), v is (S, E). Go backward: from y = p v to dp and dv; through the softmax, which you know; then
through the product of q and k.
"""

import numpy as np
from jaxtyping import Float


def attention_forward(q: Float[np.ndarray, "T D"], k: Float[np.ndarray, "S D"], v: Float[np.ndarray, "S E"]):
    scale = 1 / np.sqrt(q.shape[-1])
    s = q @ k.T * scale
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    y = p @ v
    return y, (q, k, v, p, scale)


def attention_backward(dy, cache):
    """y = p v is a product: dp = dy vᵀ, dv = pᵀ dy. The softmax: ds = p (dp − Σ p dp), the sum along each row.

    s = q kᵀ/√D is a product too: dq = ds k/√D; and as k stands transposed in it, dk = dsᵀ q/√D.

    dp = dy vᵀ,   ds = p (dp − Σ p dp),   dq = ds k/√D,   dk = dsᵀ q/√D,   dv = pᵀ dy
    """
    q, k, v, p, scale = cache
    dp = dy @ v.T
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq = ds @ k * scale
    dk = ds.T @ q * scale
    dv = p.T @ dy
    return dq, dk, dv
