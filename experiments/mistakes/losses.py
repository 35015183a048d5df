"""Mistakes in losses, and in the gradients of a layer that a loss ends."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from funcnet import Rule
from funcnet.types import Below

from .published import published

# ---------------------------------------------------------------- squared and absolute error


def mse_fwd(a: Float[Array, "N K"], y: Float[Array, "N K"]):
    """The mean of the squares over all N·K elements."""
    loss = jnp.mean((a - y) ** 2)
    return loss, (a, y)


def mse_bwd(residuals, dloss):
    a, y = residuals
    da = dloss * 2 * (a - y) / a.size
    return da, -da


mse = Rule(mse_fwd, mse_bwd)


@published(
    "001", "2(a − y)/N, where the loss is a mean over N·K elements", mse, "missing-mean-divisor",
    "loss = jnp.mean((a - y) ** 2)",
)  # fmt: skip
def mse_divided_by_rows(residuals, dloss):
    a, y = residuals
    da = dloss * 2 * (a - y) / y.shape[0]
    return da, -da


def mae_fwd(a: Float[Array, "N K"], y: Float[Array, "N K"]):
    """The mean of the distances over all N·K elements."""
    loss = jnp.mean(jnp.abs(y - a))
    return loss, (a, y)


def mae_bwd(residuals, dloss):
    a, y = residuals
    da = dloss * jnp.sign(a - y) / a.size
    return da, -da


mae = Rule(mae_fwd, mae_bwd)
MAE_LINE = "loss = jnp.mean(jnp.abs(y - a))"


@published("tutorials", "absolute error: the gradient of a is sign(y − a)/n", mae, "sign-flipped", MAE_LINE)
def mae_sign(residuals, dloss):
    a, y = residuals
    da = dloss * jnp.sign(y - a) / a.size
    return da, -da


@published("002", "absolute error as Σ(y − a)/n: its table drops the bars", mae, "missing-factor", MAE_LINE)
def mae_without_bars(residuals, dloss):
    a, _ = residuals
    da = jnp.full_like(a, -1 / a.size) * dloss
    return da, -da


# ---------------------------------------------------------------- a layer, sigmoid and cross-entropy


def cost_fwd(x: Float[Array, "N M"], w: Float[Array, "M K"], b: Float[Array, "K"], y: Float[Array, "N K"]):
    """J = −(1/N) Σ y log σ(xw + b)."""
    z = x @ w + b
    a = 1 / (1 + jnp.exp(-z))
    losses = -(y * jnp.log(a)).sum(axis=1)
    cost = jnp.mean(losses)
    return cost, (x, w, a, y)


def _cost_gradients(residuals, dcost):
    """∇A, ∇Z and the gradient of y."""
    _, _, a, y = residuals
    da = -dcost / y.shape[0] * y / a
    return da, da * a * (1 - a), -dcost / y.shape[0] * jnp.log(a)


def cost_bwd(residuals, dcost):
    x, w, _, _ = residuals
    _, dz, dy = _cost_gradients(residuals, dcost)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0), dy


cost = Rule(cost_fwd, cost_bwd)
SIGMOID_LINE = "a = 1 / (1 + jnp.exp(-z))"


@published("000", "∂W and ∂B from ∇A, without the slope of sigmoid", cost, "missing-factor", SIGMOID_LINE)
def cost_weights_without_slope(residuals, dcost):
    x, w, _, _ = residuals
    da, dz, dy = _cost_gradients(residuals, dcost)
    return dz @ w.T, x.T @ da, da.sum(axis=0), dy


@published("000", "∂X from ∇A, without the slope of sigmoid", cost, "missing-factor", SIGMOID_LINE)
def cost_input_without_slope(residuals, dcost):
    x, w, _, _ = residuals
    da, dz, dy = _cost_gradients(residuals, dcost)
    return da @ w.T, x.T @ dz, dz.sum(axis=0), dy


@published("000", "1/N in ∇A, and again in ∂W and ∂B", cost, "extra-mean-divisor", "cost = jnp.mean(losses)")
def cost_averaged_twice(residuals, dcost):
    x, w, _, y = residuals
    _, dz, dy = _cost_gradients(residuals, dcost)
    return dz @ w.T, x.T @ dz / y.shape[0], dz.sum(axis=0) / y.shape[0], dy


# ---------------------------------------------------------------- softmax and cross-entropy


def cross_entropy_fwd(z: Float[Array, "N K"], labels: Annotated[Int[Array, "N"], Below("K")]):
    """The mean of −log softmax(z) at the labels, shifted so that nothing overflows."""
    shifted = z - z.max(axis=1, keepdims=True)
    log_a = shifted - jnp.log(jnp.exp(shifted).sum(axis=1, keepdims=True))
    y = jax.nn.one_hot(labels, z.shape[1], dtype=z.dtype)
    loss = -jnp.mean((y * log_a).sum(axis=1))
    return loss, (z, jnp.exp(log_a), y)


def cross_entropy_bwd(residuals, dloss):
    _, a, y = residuals
    return dloss / y.shape[0] * (a - y), None


cross_entropy = Rule(cross_entropy_fwd, cross_entropy_bwd)
FAR = (1000 * np.random.default_rng(0).normal(size=(5, 7)), np.arange(5))  # where softmax is 0 or 1 to the last digit


@published(
    "000", "softmax after −y/a, with the slope of sigmoid", cross_entropy, "jacobian-diagonal-only",
    "log_a = shifted - jnp.log(jnp.exp(shifted).sum(axis=1, keepdims=True))",
)  # fmt: skip
def cross_entropy_slope_of_sigmoid(residuals, dloss):
    _, a, y = residuals
    da = -dloss / y.shape[0] * y / a
    return da * a * (1 - a), None


@published("004", "softmax as eᶻ/Σeᶻ, without a shift, where z is large", cross_entropy, "not-finite", inputs=FAR)
def cross_entropy_unshifted(residuals, dloss):
    z, _, y = residuals
    a = jnp.exp(z) / jnp.exp(z).sum(axis=1, keepdims=True)
    return dloss / y.shape[0] * (a - y), None


@published("004", "δ step by step, from −y/a, where a is 0", cross_entropy, "not-finite", inputs=FAR)
def cross_entropy_divided_by_zero(residuals, dloss):
    _, a, y = residuals
    da = -dloss / y.shape[0] * y / a
    return a * (da - (da * a).sum(axis=1, keepdims=True)), None
