"""Weights for the examples of any loss."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...types import Residuals, Rule, ShapeError, memoized, require_arrays
from .reduction import Reduction


@memoized
def weighted(loss: Rule, reduction: Reduction | Literal["sum_over_batch_size"] = "mean") -> Rule:
    """``loss`` with a weight w for every example: a rule on (predictions, (targets, weights)).

    ``loss`` must return its terms, as any does with reduction "none". The weights are floats in the shape of the terms
    or of their first axes, e.g. (N,) for terms (N, K). There are two kinds of mean:

    - "mean" divides by the sum of the weights, as ``np.average``, scikit-learn and PyTorch's ``mse_loss`` and
      ``cross_entropy`` do: a whole number k counts as k copies, and only the ratios of weights matter.
      It is NaN if the weights sum to 0.
    - "sum_over_batch_size" divides by the number of terms, as Keras does by default, and PyTorch's
      ``binary_cross_entropy``: the batch means average to the mean of all, so ``evaluate`` is exact.
    """
    if reduction not in ("mean", "sum_over_batch_size", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum_over_batch_size', 'sum' or 'none'; got {reduction!r}")

    def divided(total: Array, weights: Float[Array, "*B"], shape: tuple[int, ...]) -> Array:
        """``total`` over the divisor of the reduction; each weight counts for all terms of its example."""
        if reduction == "mean":
            return total * (weights.size / math.prod(shape)) / weights.sum()
        return total * (1 / math.prod(shape)) if reduction == "sum_over_batch_size" else total

    def fwd(
        predictions: PyTree[Float[Array, "..."]], targets: tuple[Any, Float[Array, "*B"]]
    ) -> tuple[Float[Array, "*R"], Residuals]:
        """L = Σ w ℓ / Σ w, Σ w ℓ / n, Σ w ℓ, or w ℓ, with ℓ = loss(predictions, targets). Raises ShapeError."""
        targets, weights = targets
        require_arrays("weighted", weights)
        terms, inner = loss.fwd(predictions, targets)
        if not terms.shape or weights.shape != terms.shape[: weights.ndim]:
            raise ShapeError(
                f"weighted expects a loss of reduction 'none', and weights in the shape of its terms or of their first "
                f"axes; got terms {terms.shape} and weights {weights.shape}"
            )
        if reduction in ("mean", "sum_over_batch_size") and not terms.size:
            raise ShapeError(f"the mean of no terms is asked for (shape {terms.shape}); reduction 'sum' gives 0")
        y = terms * _along(weights, terms)
        if reduction != "none":
            y = divided(y.sum(), weights, terms.shape)
        return y, (inner, terms, weights)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Any, tuple[Any, Float[Array, "*B"]]]:
        """dℓ = w dy/n, passed to the loss's own backward;  dw = Σ ℓ dy/n over the terms of the example.

        Under "mean" n is Σ w, which depends on w too: dw = Σ (ℓ − L) dy/n. Saves ℓ and w.
        """
        inner, terms, weights = residuals
        scale = jnp.broadcast_to(dy if reduction == "none" else divided(dy, weights, terms.shape), terms.shape)
        dpredictions, dtargets = loss.bwd(inner, _along(weights, terms) * scale)
        if reduction == "mean":
            terms = terms - divided((terms * _along(weights, terms)).sum(), weights, terms.shape)
        dweights = (terms * scale).sum(axis=tuple(range(weights.ndim, terms.ndim)))
        return dpredictions, (dtargets, dweights)

    return Rule(fwd, bwd)


def _along(weights: Float[Array, "*B"], terms: Float[Array, "*B *S"]) -> Float[Array, "*B *S"]:
    """The weight of every term, taken from its example."""
    return jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (terms.ndim - weights.ndim)), terms.shape)
