"""Layers: rules lifted to ``Layer``. They add parameters, names and shapes, and no calculus."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from . import initializers, ops
from .ops.normalization import BatchNormResiduals, Population
from .ops.windows import Padding, Pair, pair
from .types import Initializer, Layer, Rule, ShapeError


def dense(
    features: int,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """y = x w + b on the last axis: (*S, I) to (*S, ``features``), params ``{"w": (I, O), "b": (O,)}``.

    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    if features < 1:
        raise ValueError(f"dense wants at least one feature; got {features}")
    name = f"dense({features})"

    def init(key, in_shape):
        if not in_shape:
            raise ShapeError(f"{name} got input shape (), wants (..., I)")
        w_key, b_key = jax.random.split(key)
        w = w_init(w_key, (in_shape[-1], features))
        return {"w": w, "b": b_init(b_key, (features,))}, (*in_shape[:-1], features)

    def fwd(params, x, key=None):
        wanted = params["w"].shape[0]
        if x.shape[-1:] != (wanted,):
            raise ShapeError(f"{name} got x of shape {x.shape}, wants (N, ..., {wanted})")
        return ops.dense.fwd(x, params["w"], params["b"])

    def bwd(residuals, dy):
        dx, dw, db = ops.dense.bwd(residuals, dy)
        return {"w": dw, "b": db}, dx

    return Layer(init, fwd, bwd, name)


def lift(rule: Rule, name: str, out_shape=lambda in_shape: in_shape) -> Layer:
    """A rule of one array as a layer without parameters; ``out_shape`` maps shapes as the rule does."""

    def init(key, in_shape):
        return {}, out_shape(in_shape)

    def fwd(params, x, key=None):
        return rule.fwd(x)

    def bwd(residuals, dy):
        (dx,) = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)


def relu() -> Layer:
    """max(x, 0)."""
    return lift(ops.relu, "relu")


def leaky_relu(slope: float = 0.01) -> Layer:
    """x where x > 0, else slope·x."""
    return lift(ops.leaky_relu(slope), f"leaky_relu({slope})")


def elu(alpha: float = 1.0) -> Layer:
    """x where x > 0, else α(eˣ − 1)."""
    return lift(ops.elu(alpha), f"elu({alpha})")


def sigmoid() -> Layer:
    """1 / (1 + e⁻ˣ)."""
    return lift(ops.sigmoid, "sigmoid")


def tanh() -> Layer:
    """tanh(x)."""
    return lift(ops.tanh, "tanh")


def gelu() -> Layer:
    """x Φ(x)."""
    return lift(ops.gelu, "gelu")


def silu() -> Layer:
    """x σ(x)."""
    return lift(ops.silu, "silu")


def softplus() -> Layer:
    """log(1 + eˣ)."""
    return lift(ops.softplus, "softplus")


def softmax() -> Layer:
    """Softmax over the last axis. A loss on logits is more accurate than one on its output."""
    return lift(ops.softmax, "softmax")


def log_softmax() -> Layer:
    """Log-softmax over the last axis."""
    return lift(ops.log_softmax, "log_softmax")


def flatten() -> Layer:
    """(*S) to (∏ S,)."""
    return lift(ops.flatten, "flatten", lambda in_shape: (math.prod(in_shape),))


def dropout(rate: float) -> Layer:
    """Drops elements with probability ``rate`` in training (where ``fwd`` gets a key); the identity in inference."""
    rule = ops.dropout(rate)

    def init(key, in_shape):
        return {}, in_shape

    def fwd(params, x, key=None):
        return rule.fwd(x, key)

    def bwd(residuals, dy):
        dx, _ = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, f"dropout({rate})")


def batch_norm(eps: float = 1e-5) -> Layer:
    """Batch normalisation of the last axis: params ``{"gamma": (C,), "beta": (C,), "population": Population}``.

    Training normalises by the batch, inference by the population, which ``calibrate`` finds (and ``fit`` calls it).
    The gradient with respect to the population is zero in training, so that no optimizer moves it.
    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    training, inference = ops.batch_norm(eps), ops.batch_norm_inference(eps)

    def init(key, in_shape):
        if not in_shape:
            raise ShapeError("batch_norm got input shape (), wants (..., C)")
        zeros, ones = (lambda: jnp.zeros(in_shape[-1:])), (lambda: jnp.ones(in_shape[-1:]))
        return {"gamma": ones(), "beta": zeros(), "population": Population(zeros(), ones())}, in_shape

    def fwd(params, x, key=None):
        gamma, beta, population = (params[name] for name in ("gamma", "beta", "population"))
        if key is None:
            return inference.fwd(x, gamma, beta, population)
        return training.fwd(x, gamma, beta)

    def bwd(residuals, dy):
        if isinstance(residuals, BatchNormResiduals):
            dx, dgamma, dbeta = training.bwd(residuals, dy)
            dpopulation = jax.tree.map(lambda s: jnp.zeros_like(s, dgamma.dtype), residuals.population)
        else:
            dx, dgamma, dbeta, dpopulation = inference.bwd(residuals, dy)
        return {"gamma": dgamma, "beta": dbeta, "population": dpopulation}, dx

    return Layer(init, fwd, bwd, "batch_norm")


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
        raise ValueError(f"{kind} wants features of at least 1, a multiple of groups={groups}; got {features}")

    def init(key, in_shape):
        if len(in_shape) != 3 or in_shape[-1] % groups:
            raise ShapeError(f"{name} got input shape {in_shape}, wants (H, W, C), C a multiple of groups={groups}")
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
