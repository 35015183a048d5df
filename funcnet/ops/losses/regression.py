"""Losses of regression, elementwise: the mean is over every element, so N examples with K outputs divide by N·K."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...types import Residuals, Rule, memoized
from .reduction import Reduction, check_positive, check_reduction, reduced, same_shape, spread


def _of_error(
    name: str, value: Callable[[Array], Array], slope: Callable[[Array], Array], reduction: Reduction
) -> Rule:
    """The loss ρ(e) of the error e = p − t, from ρ and its ``slope`` ρ′."""
    check_reduction(reduction)

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce ρ(p − t), for p and t of one shape. Raises ShapeError."""
        same_shape(name, predictions, targets)
        return reduced(value(predictions - targets), reduction), (predictions, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = ρ′(p − t) dy/n,  dt = −dp, where n counts every element of p under "mean"."""
        p, t = residuals
        dp = slope(p - t) * spread(dy, p.shape, reduction)
        return dp, -dp

    fwd.__qualname__ = bwd.__qualname__ = name  # what reports call the rule
    return Rule(fwd, bwd)


@memoized
def mean_squared_error(reduction: Reduction = "mean") -> Rule:
    """L = reduce e², dp = 2e dy/n, dt = −dp, with e = p − t. The mean of the targets minimises it."""
    return _of_error("mean_squared_error", lambda e: e**2, lambda e: 2 * e, reduction)


@memoized
def mean_absolute_error(reduction: Reduction = "mean") -> Rule:
    """L = reduce |e|, dp = sign(e) dy/n, dt = −dp, with e = p − t; the slope at e = 0 is 0, midway between both sides.

    The median of the targets minimises it: an outlier counts no more than a near target.
    """
    return _of_error("mean_absolute_error", jnp.abs, jnp.sign, reduction)


@memoized
def huber(delta: float = 1.0, *, reduction: Reduction = "mean") -> Rule:
    """L = reduce ½e² if |e| ≤ δ, else δ(|e| − δ/2), with e = p − t (Huber 1964);  dp = clip(e, −δ, δ) dy/n, dt = −dp.

    Computed as q(|e| − q/2), q = min(|e|, δ): a large error is never squared, so it cannot overflow. There is no kink:
    at |e| = δ both pieces have the slope ±δ. Raises ValueError unless δ is positive and finite.
    """
    check_positive(delta=delta)

    def value(e: Array) -> Array:
        q = jnp.minimum(jnp.abs(e), delta)
        return q * (jnp.abs(e) - 0.5 * q)

    return _of_error("huber", value, lambda e: jnp.clip(e, -delta, delta), reduction)
