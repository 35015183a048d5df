"""Causal attention: nobody looks ahead.

As attention, on T queries, keys and values, but query t sees the keys 0 … t alone: the other scores are set to −∞
(here −1e30) before the softmax. Each of B sequences is on its own:

    s = q kᵀ / √D,   s_ij = −1e30 for j > i,   p = softmax(s),   y = p v

q, k and v are (B, T, D). What does a score get back that was set to a constant? What is p there? (The transpose of the
last two axes is np.swapaxes(k, -1, -2).)
"""

import numpy as np
from jaxtyping import Float


def causal_attention_forward(
    q: Float[np.ndarray, "B T D"], k: Float[np.ndarray, "B T D"], v: Float[np.ndarray, "B T D"]
):
    scale = 1 / np.sqrt(q.shape[-1])
    seen = np.tril(np.ones((q.shape[1], q.shape[1]), bool))
    s = q @ np.swapaxes(k, -1, -2) * scale
    e = np.where(seen, np.exp(s - np.max(np.where(seen, s, -1e30), axis=-1, keepdims=True)), 0)
    p = e / e.sum(axis=-1, keepdims=True)
    y = p @ v
    return y, (q, k, v, p, scale)


def causal_attention_backward(dy, cache):
    """As in attention, in each sequence: dp = dy vᵀ, dv = pᵀ dy, ds = p (dp − Σ p dp).

    Where the score is a constant, nothing may flow back; and there p is 0, so ds is 0 by itself: the backward needs no
    mask.

    dp = dy vᵀ,   ds = p (dp − Σ p dp),   dq = ds k/√D,   dk = dsᵀ q/√D,   dv = pᵀ dy
    """
    q, k, v, p, scale = cache
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq = ds @ k * scale
    dk = np.swapaxes(ds, -1, -2) @ q * scale
    dv = np.swapaxes(p, -1, -2) @ dy
    return dq, dk, dv
