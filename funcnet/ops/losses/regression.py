"""Losses of regression, elementwise: the mean is over every element, so that N examples of K outputs divide by N·K."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...types import Rule
from .reduction import Pair, Reduction, check_positive, check_reduction, reduced, same_shape, spread

# ---------------------------------------------------------------- mean squared error


def mean_squared_error(reduction: Reduction = "mean") -> Rule:
    """(p − t)², which the mean of the targets makes smallest."""
    check_reduction(reduction)

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce (p − t)²."""
        same_shape("mean_squared_error", predictions, targets)
        return reduced((predictions - targets) ** 2, reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = 2(p − t) dy/n,  dt = −dp, where n counts every element of p under 'mean'."""
        predictions, targets = residuals
        dp = 2 * (predictions - targets) * spread(dy, predictions.shape, reduction)
        return dp, -dp

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- mean absolute error


def mean_absolute_error(reduction: Reduction = "mean") -> Rule:
    """|p − t|, which the median of the targets makes smallest: one far target moves it no more than a near one."""
    check_reduction(reduction)

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce |p − t|."""
        same_shape("mean_absolute_error", predictions, targets)
        return reduced(jnp.abs(predictions - targets), reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = sign(p − t) dy/n,  dt = −dp. At p = t the slope is 0, midway between those of the two sides."""
        predictions, targets = residuals
        dp = jnp.sign(predictions - targets) * spread(dy, predictions.shape, reduction)
        return dp, -dp

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- huber


def huber(delta: float = 1.0, *, reduction: Reduction = "mean") -> Rule:
    """½(p − t)² up to the distance ``delta``, and from there on a straight line of slope ``delta`` (Huber 1964)."""
    check_reduction(reduction)
    check_positive(delta=delta)

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce q(|e| − q/2), with e = p − t and q = min(|e|, δ): e²/2 where |e| ≤ δ, δ(|e| − δ/2) beyond.

        In this form no square is taken of a large error, so none overflows.
        """
        same_shape("huber", predictions, targets)
        distance = jnp.abs(predictions - targets)
        q = jnp.minimum(distance, delta)
        return reduced(q * (distance - 0.5 * q), reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = clip(p − t, −δ, δ) dy/n,  dt = −dp. There is no kink: at |p − t| = δ both pieces have the slope ±δ."""
        predictions, targets = residuals
        dp = jnp.clip(predictions - targets, -delta, delta) * spread(dy, predictions.shape, reduction)
        return dp, -dp

    return Rule(fwd, bwd)
