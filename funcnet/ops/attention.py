"""Scaled dot-product attention: the plain form, and one that goes block by block and never holds all weights.

Heads are axes before the last two. Of k and v there may be fewer heads than of q: query head h then looks at key head
⌊h K/H⌋ (grouped-query attention, Ainslie et al. 2023; multi-query where K = 1, Shazeer 2019).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..types import Rule, ShapeError, at_least_float32

Queries = Float[Array, "*B T D"]
Keys = Float[Array, "*B S D"]
Values = Float[Array, "*B S E"]
Outputs = Float[Array, "*B T E"]
Mask = Bool[Array, "*B T S"]

# ---------------------------------------------------------------- what both forms share


def _check(q: Array, k: Array, v: Array, mask: Array | None) -> None:
    scores = (*q.shape[:-1], *k.shape[-2:-1])
    fits = min(q.ndim, k.ndim) >= 2 and q.shape[-1] == k.shape[-1] and k.shape[:-1] == v.shape[:-1]
    if fits and q.shape[:-2] != k.shape[:-2]:
        fits = q.ndim == k.ndim > 2 and q.shape[:-3] == k.shape[:-3] and q.shape[-3] % max(k.shape[-3], 1) == 0
    if not fits or not k.shape[-2]:
        raise ShapeError(
            f"attention got q {q.shape}, k {k.shape}, v {v.shape}; it expects q (*B, T, D), k (*B, S, D) and "
            f"v (*B, S, E), or q (*B, H, T, D) with k and v of fewer heads that divide H, and at least one key"
        )
    if mask is not None and (mask.dtype != bool or not _broadcasts(mask.shape, scores)):
        raise ShapeError(f"attention expects a boolean mask that broadcasts to {scores}; got {mask.dtype} {mask.shape}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _stacked(x: Float[Array, "*H T A"], heads: tuple[int, ...]) -> Float[Array, "*K R A"]:
    """All heads of x that share one of ``heads`` as one matrix of more rows."""
    shared = x.shape[-3] // heads[-1] if heads and heads[-1] else 1
    return x.reshape(*heads, shared * x.shape[-2], x.shape[-1])


def _times(x: Float[Array, "*H T A"], y: Float[Array, "*K A C"]) -> Float[Array, "*H T C"]:
    """x y, where heads of x may share one of y; added in float32 at least."""
    product = jnp.matmul(_stacked(x, y.shape[:-2]), y, preferred_element_type=at_least_float32(y.dtype))
    return product.reshape(*x.shape[:-1], y.shape[-1])


def _transposed_times(
    x: Float[Array, "*H T A"], y: Float[Array, "*H T C"], heads: tuple[int, ...]
) -> Float[Array, "*K A C"]:
    """xᵀ y, summed over the heads that share one of ``heads``."""
    return _times(_stacked(x, heads).mT, _stacked(y, heads))


def _scores(
    q: Queries, k: Keys, mask: Mask | None, scale: float | None, causal: tuple[int | Array, int] | None
) -> Float[Array, "*B T S"]:
    """s = q kᵀ scale, and −∞ where ``mask`` is False or, where ``causal`` = (first, last), first + s > last + t."""
    s = _times(q, k.mT) * _scale(q, scale)
    if causal is not None:
        first, last = causal
        T, S = s.shape[-2:]
        seen = first + jnp.arange(S)[None, :] <= last + jnp.arange(T)[:, None]
        s = jnp.where(jnp.broadcast_to(seen, s.shape), s, -jnp.inf)
    return s if mask is None else jnp.where(jnp.broadcast_to(mask, s.shape), s, -jnp.inf)


def _scale(q: Queries, scale: float | None) -> float:
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale


def _finite(top: Float[Array, "*B T 1"]) -> Float[Array, "*B T 1"]:
    """0 for −∞: the largest score of a row that sees nothing, from which −∞ could not be taken."""
    return jnp.where(jnp.isneginf(top), jnp.zeros_like(top), top)


def _divisor(total: Float[Array, "*B T 1"]) -> Float[Array, "*B T 1"]:
    """1 for 0: the sum of the weights of a row that sees nothing."""
    return jnp.where(total == 0, jnp.ones_like(total), total)


# ---------------------------------------------------------------- the plain form


class AttentionResiduals(NamedTuple):
    q: Queries
    k: Keys
    v: Values
    weights: Float[Array, "*B T S"]


def attention(causal: bool = False, scale: float | None = None) -> Rule:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1); ``scale`` is 1/√D unless given.

    ``causal``: the last query sees every key, and each one before it one key less; of T = S, query t sees keys up to t.
    With fewer queries than keys they are the last, as where keys are kept while text is generated; PyTorch's
    ``is_causal`` takes them for the first.
    """

    def fwd(
        q: Queries, k: Keys, v: Values, mask: Mask | None = None
    ) -> tuple[Float[Array, "*B T E"], AttentionResiduals]:
        """y = p v,  p = softmax(q kᵀ · scale) over S: q (*B, T, D), k (*B, S, D), v (*B, S, E) to (*B, T, E).

        ``mask`` is True where a query sees a key, in any shape that broadcasts to (*B, T, S); what it hides has score
        −∞ before the exponential. A query that sees no key has weights 0 and y = 0. Raises ShapeError.
        """
        _check(q, k, v, mask)
        s = _scores(q, k, mask, scale, (0, k.shape[-2] - q.shape[-2]) if causal else None)
        e = jnp.exp(s - _finite(s.max(axis=-1, keepdims=True)))
        p = e / _divisor(e.sum(axis=-1, keepdims=True))
        return _times(p.astype(v.dtype), v).astype(v.dtype), AttentionResiduals(q, k, v, p)

    def bwd(residuals: AttentionResiduals, dy: Outputs) -> tuple[Queries, Keys, Values, None]:
        """dv = pᵀ dy,  dp = dy vᵀ,  ds = p ∘ (dp − Σ_S dp ∘ p),  dq = ds k · scale,  dk = dsᵀ q · scale.

        The two products give dv and dp, the softmax ds (see ``softmax_bwd``), and the product of the scores dq and
        dk. Where a key is hidden p is 0, and so is ds: the mask needs no case of its own, and neither does a query
        that sees nothing. Heads of q that share a key add up in dk and dv. Saves the weights p, (*B, T, S) numbers.
        """
        q, k, v, p = residuals
        dv = _transposed_times(p.astype(dy.dtype), dy, v.shape[:-2])
        dp = _times(dy, v.mT)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * _scale(q, scale)
        ds = ds.astype(q.dtype)
        dk = _transposed_times(ds, q, k.shape[:-2])
        return _times(ds, k).astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- block by block


class FlashResiduals(NamedTuple):
    q: Queries
    k: Keys
    v: Values
    mask: Mask | None
    y: Outputs
    log_sum: Float[Array, "*B T 1"]  # log Σ_S eˢ; 0 for a query that sees nothing


class _Blocks(NamedTuple):
    """Keys, values and mask, their blocks on a new first axis, and where each block starts."""

    k: Float[Array, "J *B W D"]
    v: Float[Array, "J *B W E"]
    mask: Bool[Array, "J *B T W"] | None
    first: Array


def _blocks(q: Queries, k: Keys, v: Values, mask: Mask | None, block: int) -> _Blocks:
    """S is filled up to a multiple of the block by keys that no query sees."""
    S = k.shape[-2]
    block = min(block, S)
    more = -S % block

    def cut(x: Array, axis: int) -> Array:
        x = jnp.pad(x, [(0, more if i == x.ndim + axis else 0) for i in range(x.ndim)])
        at = x.ndim + axis
        return jnp.moveaxis(x.reshape(*x.shape[:at], x.shape[at] // block, block, *x.shape[at + 1 :]), at, 0)

    if mask is None and more:
        mask = jnp.ones((1, S), bool)
    if mask is not None:
        mask = cut(jnp.broadcast_to(mask, (*mask.shape[:-1], S)), -1)
    return _Blocks(cut(k, -2), cut(v, -2), mask, jnp.arange(0, S, block))


def flash_attention(causal: bool = False, scale: float | None = None, block: int = 128) -> Rule:
    """``attention`` in blocks of keys: memory grows with T + S, not with T·S (Dao et al. 2022).

    The result is that of ``attention`` to rounding. Raises ValueError where a block holds no key.
    """
    if block < 1:
        raise ValueError(f"flash_attention expects at least one key in a block; got {block}")

    def scores(q: Queries, part: _Blocks, keys: int) -> Float[Array, "*B T W"]:
        return _scores(q, part.k, part.mask, scale, (part.first, keys - q.shape[-2]) if causal else None)

    def fwd(q: Queries, k: Keys, v: Values, mask: Mask | None = None) -> tuple[Outputs, FlashResiduals]:
        """y = p v,  p = softmax(q kᵀ · scale); shapes, mask and errors as of ``attention``.

        Each block of keys moves three sums: the largest score m so far, l = Σ e^(s − m) and a = Σ e^(s − m) v. Where
        the block raises m to m′, what was summed before is multiplied by e^(m − m′) (Milakov & Gimelshein 2018).
        After the last block y = a/l, and log Σ eˢ = m + log l.
        """
        _check(q, k, v, mask)
        wide = at_least_float32(q.dtype)
        start = (
            jnp.full((*q.shape[:-1], 1), -jnp.inf, wide),
            jnp.zeros((*q.shape[:-1], 1), wide),
            jnp.zeros((*q.shape[:-1], v.shape[-1]), wide),
        )

        def step(sums, part):
            m, total, weighted = sums
            s = scores(q, part, k.shape[-2])
            top = jnp.maximum(m, s.max(axis=-1, keepdims=True))
            e, shrink = jnp.exp(s - _finite(top)), jnp.exp(m - _finite(top))
            total = total * shrink + e.sum(axis=-1, keepdims=True)
            return (top, total, weighted * shrink + _times(e.astype(v.dtype), part.v)), None

        (m, total, weighted), _ = lax.scan(step, start, _blocks(q, k, v, mask, block))
        y = (weighted / _divisor(total)).astype(v.dtype)
        return y, FlashResiduals(q, k, v, mask, y, _finite(m) + jnp.log(_divisor(total)))

    def bwd(residuals: FlashResiduals, dy: Outputs) -> tuple[Queries, Keys, Values, None]:
        """dv = pᵀ dy,  dp = dy vᵀ,  ds = p ∘ (dp − δ),  dq = ds k · scale,  dk = dsᵀ q · scale, with δ = Σ_E dy ∘ y.

        It saves y and log Σ eˢ, and of the weights nothing: p = e^(s − log Σ eˢ) is had again from a block's scores,
        without the sum over the other blocks. That of the softmax's backward would need them all, but
        Σ_S dp_ts p_ts = Σ_S Σ_E dy_te v_se p_ts = Σ_E dy_te y_te, which is δ. So dk and dv of a block come from that
        block alone, and dq is the sum over the blocks. A query that sees nothing has s = −∞ and log Σ eˢ = 0: p = 0.
        """
        q, k, v, mask, y, log_sum = residuals
        delta = (dy.astype(log_sum.dtype) * y.astype(log_sum.dtype)).sum(axis=-1, keepdims=True)

        def step(dq, part):
            p = jnp.exp(scores(q, part, k.shape[-2]) - log_sum)
            ds = (p * (_times(dy, part.v.mT) - delta) * _scale(q, scale)).astype(q.dtype)
            dk = _transposed_times(ds, q, k.shape[:-2]).astype(k.dtype)
            dv = _transposed_times(p.astype(dy.dtype), dy, v.shape[:-2]).astype(v.dtype)
            return dq + _times(ds, part.k), (dk, dv)

        dq, gradients = lax.scan(step, jnp.zeros(q.shape, log_sum.dtype), _blocks(q, k, v, mask, block))
        dk, dv = (_joined(d, k.shape[-2]) for d in gradients)
        return dq.astype(q.dtype), dk, dv, None

    return Rule(fwd, bwd)


def _joined(blocks: Float[Array, "J *B W C"], keys: int) -> Float[Array, "*B S C"]:
    """The blocks one after another, without the keys that filled the last."""
    x = jnp.moveaxis(blocks, 0, -3)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])[..., :keys, :]
