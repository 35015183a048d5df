"""Layers of images (H, W, C): convolution and pooling. They add parameters, names and shapes, and no calculus."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from .. import initializers, ops
from ..ops.windows import Padding, Pair, pair
from ..types import Initializer, Layer, Rule, ShapeError
from .lifting import lift


def conv2d(
    features: int,
    kernel_size: Pair = 3,
    stride: Pair = 1,
    padding: Padding = "SAME",
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """Convolution of an image (H, W, C) to (P, Q, ``features``): params ``{"w": (R, S, C/groups, features), "b"}``.

    Without ``bias`` there is no ``b``, as before a normalisation, which would take it away. See ``ops.conv2d``.
    Raises ValueError for settings that are none, ShapeError for an image that does not fit.
    """
    rule = ops.conv2d(stride, padding, dilation, groups)
    return _convolution("conv2d", rule, features, kernel_size, groups, bias, w_init, b_init)


def conv2d_transpose(
    features: int,
    kernel_size: Pair = 3,
    stride: Pair = 1,
    padding: Padding = "SAME",
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """Transposed convolution of an image (H, W, C) to (P, Q, ``features``), larger by ``stride``; params as conv2d's.

    See ``ops.conv2d_transpose``. Raises ValueError for settings that are none, ShapeError where the image does not fit.
    """
    rule = ops.conv2d_transpose(stride, padding, dilation, groups)
    return _convolution("conv2d_transpose", rule, features, kernel_size, groups, bias, w_init, b_init)


def _convolution(
    kind: str,
    rule: Rule,
    features: int,
    kernel_size: Pair,
    groups: int,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
) -> Layer:
    name = f"{kind}({features})"
    field = pair(f"{kind}'s kernel_size", kernel_size)
    if features < 1 or features % groups:
        raise ValueError(f"{kind} expects features of at least 1, a multiple of groups={groups}; got {features}")

    def init(key, in_shape):
        if len(in_shape) != 3 or in_shape[-1] % groups:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (H, W, C), C a multiple of groups={groups}")
        w_key, b_key = jax.random.split(key)
        params = {"w": w_init(w_key, (*field, in_shape[-1] // groups, features))}
        if bias:
            params["b"] = b_init(b_key, (features,))
        return params, _out_shape(lambda x: rule.fwd(x, params["w"]), in_shape, params["w"].dtype)

    def fwd(params, x, key=None):
        return rule.fwd(x, params["w"], params.get("b"))

    def bwd(residuals, dy):
        dx, dw, db = rule.bwd(residuals, dy)
        return ({"w": dw, "b": db} if bias else {"w": dw}), dx

    return Layer(init, fwd, bwd, name)


def _out_shape(fwd, in_shape, dtype=jnp.float32):
    """The shape that ``fwd`` gives one example of ``in_shape``, without computing it."""
    return jax.eval_shape(fwd, jax.ShapeDtypeStruct((1, *in_shape), dtype))[0].shape[1:]


def max_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Layer:
    """The maximum of every window of an image (H, W, C); ``stride`` is the window's size unless given."""
    rule = ops.max_pool(window, stride, padding)
    return lift(rule, f"max_pool({window})", functools.partial(_out_shape, rule.fwd))


def average_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Layer:
    """The mean of every window of an image (H, W, C), padding left out; ``stride`` is the window's unless given."""
    rule = ops.average_pool(window, stride, padding)
    return lift(rule, f"average_pool({window})", functools.partial(_out_shape, rule.fwd))


def global_average_pool() -> Layer:
    """The mean of each channel of an image: (H, W, C) to (C,)."""
    rule = ops.global_average_pool
    return lift(rule, "global_average_pool", functools.partial(_out_shape, rule.fwd))
