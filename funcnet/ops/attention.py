"""Scaled dot-product attention: the plain form, and a blockwise form that never holds all weights.

Heads are axes before the last two. k and v may have fewer heads, K, than q's H: query head h then attends to key head
⌊h K/H⌋ (grouped-query attention, Ainslie et al. 2023; multi-query if K = 1, Shazeer 2019). ``ops.rotary`` encodes
positions in q and k.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..types import Rule, ShapeError, at_least_float32, require_arrays

Queries = Float[Array, "*B T D"]
Keys = Float[Array, "*B S D"]
Values = Float[Array, "*B S E"]
Outputs = Float[Array, "*B T E"]
Mask = Bool[Array, "*B T S"]

# ---------------------------------------------------------------- shared by both forms


def _check(q: Array, k: Array, v: Array, mask: Array | None) -> None:
    require_arrays("attention", q, k, v, mask)
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
    """The heads of x that share one of ``heads``, stacked into one matrix with more rows."""
    shared = x.shape[-3] // heads[-1] if heads and heads[-1] else 1
    return x.reshape(*heads, shared * x.shape[-2], x.shape[-1])


def _times(x: Float[Array, "*H T A"], y: Float[Array, "*K A C"]) -> Float[Array, "*H T C"]:
    """x y, summed in float32 or wider; heads of x may share a head of y."""
    product = jnp.matmul(_stacked(x, y.shape[:-2]), y, preferred_element_type=at_least_float32(y.dtype))
    return product.reshape(*x.shape[:-1], y.shape[-1])


def _transposed_times(
    x: Float[Array, "*H T A"], y: Float[Array, "*H T C"], heads: tuple[int, ...]
) -> Float[Array, "*K A C"]:
    """xᵀ y, summed also over the heads that share one of ``heads``."""
    return _times(_stacked(x, heads).mT, _stacked(y, heads))


def _scores(
    q: Queries, k: Keys, mask: Mask | None, scale: float | None, causal: tuple[int | Array, int] | None
) -> Float[Array, "*B T S"]:
    """s_ts = q_t·k_s scale; −∞ if ``mask`` is False or, given ``causal`` = (first, last), if first + s > last + t."""
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
    """The largest score of a row, but 0 if the row sees nothing: −∞ − (−∞) would be NaN."""
    return jnp.where(jnp.isneginf(top), jnp.zeros_like(top), top)


def _divisor(total: Float[Array, "*B T 1"]) -> Float[Array, "*B T 1"]:
    """The sum of the weights of a row, but 1 if the row sees nothing."""
    return jnp.where(total == 0, jnp.ones_like(total), total)


# ---------------------------------------------------------------- the plain form


class AttentionResiduals(NamedTuple):
    q: Queries
    k: Keys
    v: Values
    weights: Float[Array, "*B T S"]


def attention(causal: bool = False, scale: float | None = None) -> Rule:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1); ``scale`` defaults to 1/√D.

    ``causal``: the last query sees every key, and each query before it one key less; if T = S, query t sees keys up to
    t. If there are fewer queries than keys, they count as the last, as when keys are cached while text is generated;
    PyTorch's ``is_causal`` counts them as the first.
    """

    def fwd(
        q: Queries, k: Keys, v: Values, mask: Mask | None = None
    ) -> tuple[Float[Array, "*B T E"], AttentionResiduals]:
        """y = p v,  p = softmax(q kᵀ · scale) over S: q (*B, T, D), k (*B, S, D), v (*B, S, E) to (*B, T, E).

        ``mask`` is True if a query sees a key, in any shape that broadcasts to (*B, T, S); a hidden key has score −∞
        before the exponential. A query that sees no key has weights 0 and y = 0. Raises ShapeError.
        """
        _check(q, k, v, mask)
        s = _scores(q, k, mask, scale, (0, k.shape[-2] - q.shape[-2]) if causal else None)
        e = jnp.exp(s - _finite(s.max(axis=-1, keepdims=True)))
        p = e / _divisor(e.sum(axis=-1, keepdims=True))
        return _times(p.astype(v.dtype), v).astype(v.dtype), AttentionResiduals(q, k, v, p)

    def bwd(residuals: AttentionResiduals, dy: Outputs) -> tuple[Queries, Keys, Values, None]:
        """dv = pᵀ dy,  dp = dy vᵀ,  ds = p ∘ (dp − Σ_S dp ∘ p),  dq = ds k · scale,  dk = dsᵀ q · scale.

        y = p v gives dv and dp, the softmax ds (see ``softmax_bwd``), and the scores dq and dk. If a key is hidden, p
        is 0 and so is ds: neither the mask nor a query that sees nothing needs a case of its own. Heads of q that share
        a key add up in dk and dv. Saves q, k, v and the weights p (*B, T, S).
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
    """Keys, values and mask as blocks on a new first axis, and the position where each block starts."""

    k: Float[Array, "J *B W D"]
    v: Float[Array, "J *B W E"]
    mask: Bool[Array, "J *B T W"] | None
    first: Array


def _blocks(q: Queries, k: Keys, v: Values, mask: Mask | None, block: int) -> _Blocks:
    """Pads S to a multiple of the block with keys that no query sees."""
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

    The result equals that of ``attention`` up to rounding. Raises ValueError unless ``block`` is at least 1.
    """
    if block < 1:
        raise ValueError(f"flash_attention expects at least one key in a block; got {block}")

    def scores(q: Queries, part: _Blocks, keys: int) -> Float[Array, "*B T W"]:
        return _scores(q, part.k, part.mask, scale, (part.first, keys - q.shape[-2]) if causal else None)

    def fwd(q: Queries, k: Keys, v: Values, mask: Mask | None = None) -> tuple[Outputs, FlashResiduals]:
        """y = p v,  p = softmax(q kᵀ · scale); shapes, mask and errors as in ``attention``.

        Each block of keys updates the largest score m so far, l = Σ e^(s − m) and a = Σ e^(s − m) v. If the block
        raises m to m′, the earlier sums are multiplied by e^(m − m′) (Milakov & Gimelshein 2018). After the last block
        y = a/l, and log Σ eˢ = m + log l.
        """
        _check(q, k, v, mask)
        wide = at_least_float32(q.dtype)
        start = (
            jnp.full_like(q, -jnp.inf, wide, (*q.shape[:-1], 1)),  # like q, to vary over devices as q does
            jnp.zeros_like(q, wide, (*q.shape[:-1], 1)),
            jnp.zeros_like(q, wide, (*q.shape[:-1], v.shape[-1])),
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

        Saves y and log Σ eˢ but no weights: p = e^(s − log Σ eˢ) is recomputed from the scores of a block, without
        the other blocks. The sum in the softmax's backward runs over all blocks, but it is δ:
        Σ_S dp_ts p_ts = Σ_S Σ_E dy_te v_se p_ts = Σ_E dy_te y_te. So dk and dv of a block come from that block alone,
        and dq is a sum over the blocks. A query that sees nothing has s = −∞ and log Σ eˢ = 0, so p = 0.
        """
        q, k, v, mask, y, log_sum = residuals
        delta = (dy.astype(log_sum.dtype) * y.astype(log_sum.dtype)).sum(axis=-1, keepdims=True)

        def step(dq, part):
            p = jnp.exp(scores(q, part, k.shape[-2]) - log_sum)
            ds = (p * (_times(dy, part.v.mT) - delta) * _scale(q, scale)).astype(q.dtype)
            dk = _transposed_times(ds, q, k.shape[:-2]).astype(k.dtype)
            dv = _transposed_times(p.astype(dy.dtype), dy, v.shape[:-2]).astype(v.dtype)
            return dq + _times(ds, part.k), (dk, dv)

        dq, gradients = lax.scan(step, jnp.zeros_like(q, log_sum.dtype), _blocks(q, k, v, mask, block))
        dk, dv = (_joined(d, k.shape[-2]) for d in gradients)
        return dq.astype(q.dtype), dk, dv, None

    return Rule(fwd, bwd)


def _joined(blocks: Float[Array, "J *B W C"], keys: int) -> Float[Array, "*B S C"]:
    """The blocks one after another, without the keys that pad the last."""
    x = jnp.moveaxis(blocks, 0, -3)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])[..., :keys, :]
