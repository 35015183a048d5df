"""Forwards with their right backwards, one step a line: activations, reductions, softmax and losses."""

from __future__ import annotations

import math
from typing import Annotated

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from funcnet.types import Below, Residuals, Rule

# ---------------------------------------------------------------- elementwise


def sigmoid_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    e = jnp.exp(-x)
    y = 1 / (1 + e)
    return y, (x, y)


def sigmoid_bwd(residuals, dy):
    _, y = residuals
    return (dy * y * (1 - y),)


sigmoid = Rule(sigmoid_fwd, sigmoid_bwd)


def tanh_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    y = jnp.tanh(x)
    return y, (x, y)


def tanh_bwd(residuals, dy):
    _, y = residuals
    return (dy * (1 - y * y),)


tanh = Rule(tanh_fwd, tanh_bwd)


def relu_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    y = jnp.maximum(x, 0.0)
    return y, (x,)


def relu_bwd(residuals, dy):
    (x,) = residuals
    return (jnp.where(x > 0, dy, 0.0),)


relu = Rule(relu_fwd, relu_bwd)


def leaky_relu_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    leak = 0.1 * x
    y = jnp.where(x > 0, x, leak)
    return y, (x,)


def leaky_relu_bwd(residuals, dy):
    (x,) = residuals
    return (jnp.where(x > 0, dy, 0.1 * dy),)


leaky_relu = Rule(leaky_relu_fwd, leaky_relu_bwd)


def gelu_like_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    cube = x**3
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * cube)
    t = jnp.tanh(inner)
    y = 0.5 * x * (1 + t)
    return y, (x, t)


def gelu_like_bwd(residuals, dy):
    x, t = residuals
    dinner = 0.5 * x * dy * (1 - t * t)
    dx = 0.5 * (1 + t) * dy
    dx = dx + dinner * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (dx,)


gelu_like = Rule(gelu_like_fwd, gelu_like_bwd)


def softplus_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    hinge = jnp.maximum(x, 0.0)
    tail = jnp.log1p(jnp.exp(-jnp.abs(x)))
    y = hinge + tail
    return y, (x,)


def softplus_bwd(residuals, dy):
    (x,) = residuals
    return (dy / (1 + jnp.exp(-x)),)


softplus = Rule(softplus_fwd, softplus_bwd)


def dropout_fwd(x: Float[Array, "N D"], keep: Bool[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    scaled = x / 0.7
    y = jnp.where(keep, scaled, 0.0)
    return y, (keep,)


def dropout_bwd(residuals, dy):
    (keep,) = residuals
    return jnp.where(keep, dy / 0.7, 0.0), None


dropout = Rule(dropout_fwd, dropout_bwd)

# ---------------------------------------------------------------- reductions


def row_mean_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N"], Residuals]:
    y = jnp.mean(x, axis=1)
    return y, (x,)


def row_mean_bwd(residuals, dy):
    (x,) = residuals
    return (jnp.broadcast_to(dy[:, None] / x.shape[1], x.shape),)


row_mean = Rule(row_mean_fwd, row_mean_bwd)


def log_sum_exp_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N"], Residuals]:
    shift = jnp.max(x, axis=1, keepdims=True)
    z = x - shift
    total = jnp.sum(jnp.exp(z), axis=1)
    y = jnp.log(total) + shift[:, 0]
    return y, (x, y)


def log_sum_exp_bwd(residuals, dy):
    x, y = residuals
    return (dy[:, None] * jnp.exp(x - y[:, None]),)


log_sum_exp = Rule(log_sum_exp_fwd, log_sum_exp_bwd)


def variance_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N"], Residuals]:
    mean = jnp.mean(x, axis=1, keepdims=True)
    c = x - mean
    y = jnp.mean(c**2, axis=1)
    return y, (c,)


def variance_bwd(residuals, dy):
    (c,) = residuals
    return (2 * c * dy[:, None] / c.shape[1],)


variance = Rule(variance_fwd, variance_bwd)

# ---------------------------------------------------------------- softmax


def softmax_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    shift = lax.stop_gradient(jnp.max(x, axis=1, keepdims=True))
    e = jnp.exp(x - shift)
    total = jnp.sum(e, axis=1, keepdims=True)
    y = e / total
    return y, (y,)


def softmax_bwd(residuals, dy):
    (y,) = residuals
    return (y * (dy - jnp.sum(y * dy, axis=1, keepdims=True)),)


softmax = Rule(softmax_fwd, softmax_bwd)


def log_softmax_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    shift = lax.stop_gradient(jnp.max(x, axis=1, keepdims=True))
    z = x - shift
    total = jnp.sum(jnp.exp(z), axis=1, keepdims=True)
    y = z - jnp.log(total)
    return y, (y,)


def log_softmax_bwd(residuals, dy):
    (y,) = residuals
    return (dy - jnp.exp(y) * jnp.sum(dy, axis=1, keepdims=True),)


log_softmax = Rule(log_softmax_fwd, log_softmax_bwd)

# ---------------------------------------------------------------- losses


def mse_fwd(p: Float[Array, "N K"], t: Float[Array, "N K"]) -> tuple[Float[Array, ""], Residuals]:
    e = p - t
    squares = e**2
    y = jnp.mean(squares)
    return y, (e,)


def mse_bwd(residuals, dy):
    (e,) = residuals
    dp = 2 * e * dy / e.size
    return dp, -dp


mse = Rule(mse_fwd, mse_bwd)


def mae_fwd(p: Float[Array, "N K"], t: Float[Array, "N K"]) -> tuple[Float[Array, ""], Residuals]:
    y = jnp.mean(jnp.abs(p - t))
    return y, (p, t)


def mae_bwd(residuals, dy):
    p, t = residuals
    dp = jnp.sign(p - t) * dy / p.size
    return dp, -dp


mae = Rule(mae_fwd, mae_bwd)


def cross_entropy_fwd(
    logits: Float[Array, "N K"], labels: Annotated[Int[Array, "N"], Below("K")]
) -> tuple[Float[Array, ""], Residuals]:
    classes = jnp.arange(logits.shape[1])
    onehot = (labels[:, None] == classes[None, :]).astype(logits.dtype)
    shift = lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    z = logits - shift
    total = jnp.sum(jnp.exp(z), axis=1, keepdims=True)
    log_p = z - jnp.log(total)
    picked = jnp.sum(onehot * log_p, axis=1)
    y = -jnp.mean(picked)
    return y, (jnp.exp(log_p), onehot)


def cross_entropy_bwd(residuals, dy):
    p, onehot = residuals
    return (p - onehot) * dy / p.shape[0], None


cross_entropy = Rule(cross_entropy_fwd, cross_entropy_bwd)


def binary_cross_entropy_fwd(x: Float[Array, "N K"], t: Float[Array, "N K"]) -> tuple[Float[Array, ""], Residuals]:
    hinge = jnp.maximum(x, 0.0)
    linear = x * t
    tail = jnp.log1p(jnp.exp(-jnp.abs(x)))
    y = jnp.mean(hinge - linear + tail)
    return y, (x, t)


def binary_cross_entropy_bwd(residuals, dy):
    x, t = residuals
    p = 1 / (1 + jnp.exp(-x))
    return (p - t) * dy / x.size, -x * dy / x.size


binary_cross_entropy = Rule(binary_cross_entropy_fwd, binary_cross_entropy_bwd)


def huber_fwd(p: Float[Array, "N K"], t: Float[Array, "N K"]) -> tuple[Float[Array, ""], Residuals]:
    e = p - t
    near = 0.5 * e**2
    far = jnp.abs(e) - 0.5
    terms = jnp.where(jnp.abs(e) <= 1.0, near, far)
    y = jnp.mean(terms)
    return y, (e,)


def huber_bwd(residuals, dy):
    (e,) = residuals
    dp = jnp.clip(e, -1.0, 1.0) * dy / e.size
    return dp, -dp


huber = Rule(huber_fwd, huber_bwd)


def ridge_fwd(
    x: Float[Array, "N I"], w: Float[Array, "I O"], t: Float[Array, "N O"]
) -> tuple[Float[Array, ""], Residuals]:
    e = x @ w - t
    fit = jnp.mean(e**2)
    penalty = 0.05 * jnp.sum(w**2)
    y = fit + penalty
    return y, (x, w, e)


def ridge_bwd(residuals, dy):
    x, w, e = residuals
    de = 2 * e * dy / e.size
    return de @ w.T, x.T @ de + 0.1 * w * dy, -de


ridge = Rule(ridge_fwd, ridge_bwd)
