"""Weights for the examples of any loss."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...types import Rule, ShapeError
from .reduction import Reduction


class WeightedResiduals(NamedTuple):
    loss: Any
    terms: Float[Array, "*B *S"]
    weights: Float[Array, "*B"]


def weighted(loss: Rule, reduction: Reduction | Literal["sum_over_batch_size"] = "mean") -> Rule:
    """``loss`` with a weight w for every example: a rule on (predictions, (targets, weights)).

    ``loss`` is any that returns its terms, as all do with reduction "none"; the weights are floats in the shape of the
    terms or of their first axes, as (N,) for terms (N, K). The field has two means, and both are here:

    - "mean" divides by the sum of the weights, as ``np.average``, scikit-learn and PyTorch's ``mse_loss`` and
      ``cross_entropy`` do: a whole number k counts as k copies, and only the ratios of weights matter.
      It is NaN where the weights sum to 0.
    - "sum_over_batch_size" divides by the number of terms, as Keras does unless told otherwise, and PyTorch's
      ``binary_cross_entropy``: the means of batches average to that of all, so ``evaluate`` is exact.
    """
    if reduction not in ("mean", "sum_over_batch_size", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum_over_batch_size', 'sum' or 'none'; got {reduction!r}")

    def divided(total: Array, weights: Float[Array, "*B"], shape: tuple[int, ...]) -> Array:
        """What the reduction divides by: each weight counts for all the terms of its example."""
        if reduction == "mean":
            return total * (weights.size / math.prod(shape)) / weights.sum()
        return total * (1 / math.prod(shape)) if reduction == "sum_over_batch_size" else total

    def fwd(
        predictions: PyTree[Float[Array, "..."]], targets: tuple[Any, Float[Array, "*B"]]
    ) -> tuple[Float[Array, "*R"], WeightedResiduals]:
        """L = Σ w ℓ / Σ w, Σ w ℓ / n, Σ w ℓ, or w ℓ, for the terms ℓ = loss(predictions, targets)."""
        targets, weights = targets
        terms, residuals = loss.fwd(predictions, targets)
        if not terms.shape or weights.shape != terms.shape[: weights.ndim]:
            raise ShapeError(
                f"weighted wants a loss of reduction 'none', and weights in the shape of its terms or of their first "
                f"axes; got terms {terms.shape} and weights {weights.shape}"
            )
        y = terms * _along(weights, terms)
        if reduction != "none":
            y = divided(y.sum(), weights, terms.shape)
        return y, WeightedResiduals(residuals, terms, weights)

    def bwd(residuals: WeightedResiduals, dy: Float[Array, "*R"]) -> tuple[Any, tuple[Any, Float[Array, "*B"]]]:
        """dℓ = w dy/n, which the loss's own backward takes on;  dw = Σ ℓ dy/n over the terms of the example.

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
    """The weight of each term: that of its example."""
    return jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (terms.ndim - weights.ndim)), terms.shape)
