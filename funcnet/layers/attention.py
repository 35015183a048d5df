"""Multi-head attention: rules chained by hand, with no calculus of their own."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import initializers, ops
from ..types import Initializer, Layer, Params, ShapeError, require_key, require_shape
from .lifting import require
from .linear import dense


def split_heads(x: Float[Array, "*B T F"], heads: int) -> Float[Array, "*B H T E"]:
    """The features of each head on an axis of their own; ``merge_heads`` is its inverse, and so its backward."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-2, -3)


def merge_heads(x: Float[Array, "*B H T E"]) -> Float[Array, "*B T F"]:
    """The heads side by side in the last axis."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def multi_head_attention(
    heads: int,
    *,
    key_heads: int | None = None,
    causal: bool = False,
    rotary_base: float | None = None,
    block: int | None = None,
    w_init: Initializer = initializers.lecun_normal(),
    out_init: Initializer = initializers.lecun_normal(),
) -> Layer:
    """Self-attention of several heads (Vaswani et al. 2017): (*S, T, D) to (*S, T, D), with D/``heads`` features each.

    params ``{"qkv": {"w": (D, (H + 2K)E), "b"}, "out": {"w": (HE, D), "b"}}``. With fewer ``key_heads`` (K) than
    ``heads`` (H), groups of heads share keys and values. ``rotary_base`` turns q and k by their positions; ``block``
    takes that many keys at a time and keeps no weights. Raises ValueError if ``key_heads`` does not divide ``heads``;
    ``init`` raises ShapeError if ``heads`` does not divide D.
    """
    shared = heads if key_heads is None else key_heads
    if heads < 1 or shared < 1 or heads % shared:
        raise ValueError(
            f"multi_head_attention expects heads, and key_heads that divide them; got {heads} and {shared}"
        )
    name = f"multi_head_attention({heads})"
    attention = ops.attention(causal) if block is None else ops.flash_attention(causal, block=block)
    turn = None if rotary_base is None else ops.rotary(rotary_base)

    def init(key, in_shape):
        require_shape(name, in_shape)
        if len(in_shape) < 2 or in_shape[-1] % heads:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., T, D) with D a multiple of {heads}")
        features, (qkv_key, out_key) = in_shape[-1], jax.random.split(require_key(name, key))
        both = (heads + 2 * shared) * (features // heads)
        qkv, _ = dense(both, w_init).init(qkv_key, in_shape)
        out, _ = dense(features, out_init).init(out_key, in_shape)
        return {"qkv": qkv, "out": out}, in_shape

    def fwd(params, x, key=None):
        any_map = {"w": (None, None), "b": (None,)}
        require(name, params, x, qkv=any_map, out=any_map)
        wanted = params["qkv"]["w"].shape[0]
        if x.ndim < 2 or x.shape[-1] != wanted:
            raise ShapeError(f"{name} got x of shape {x.shape}, expects (N, ..., T, {wanted})")
        both = (heads + 2 * shared) * (wanted // heads)
        require(name, params, x, qkv={"w": (wanted, both), "b": (both,)}, out={"w": (wanted, wanted), "b": (wanted,)})
        q, k, v, inwards = queries_keys_values(params["qkv"], x, heads, shared)
        if turn is not None:
            q, k = turn.fwd(q)[0], turn.fwd(k)[0]
        y, attended = attention.fwd(q, k, v)
        y, outwards = ops.dense.fwd(merge_heads(y), params["out"]["w"], params["out"]["b"])
        return y, (inwards, attended, outwards)

    def bwd(residuals, dy):
        inwards, attended, outwards = residuals
        dmerged, dw_out, db_out = ops.dense.bwd(outwards, dy)
        dq, dk, dv, _ = attention.bwd(attended, split_heads(dmerged, heads))
        if turn is not None:
            dq, dk = turn.bwd(None, dq)[0], turn.bwd(None, dk)[0]
        dx, dw, db = ops.dense.bwd(inwards, merge_heads(jnp.concatenate([dq, dk, dv], axis=-3)))
        return {"qkv": {"w": dw, "b": db}, "out": {"w": dw_out, "b": db_out}}, dx

    return Layer(init, fwd, bwd, name)


def queries_keys_values(params: Params, x: Float[Array, "*B T D"], heads: int, key_heads: int):
    """q (*B, H, T, E), k and v (*B, K, T, E) by one product, and its residuals."""
    qkv, residuals = ops.dense.fwd(x, params["w"], params["b"])
    return *jnp.split(split_heads(qkv, heads + 2 * key_heads), (heads, heads + key_heads), axis=-3), residuals
