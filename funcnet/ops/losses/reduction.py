"""Shared by the losses: the reduction of their terms to one number, and the checks of their arguments."""

import math
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...types import ShapeError, require_arrays

Reduction = Literal["mean", "sum", "none"]


def check_reduction(reduction: Reduction) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")


def check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")


def reduced(terms: Float[Array, "*B"], reduction: Reduction) -> Float[Array, "*R"]:
    """y = (1/n) Σ terms, Σ terms, or terms."""
    if reduction == "mean" and not terms.size:
        raise ShapeError(f"the mean of no terms is asked for (shape {terms.shape}); reduction 'sum' gives 0")
    return {"mean": jnp.mean, "sum": jnp.sum, "none": lambda t: t}[reduction](terms)


def spread(dy: Float[Array, "*R"], shape: tuple[int, ...], reduction: Reduction) -> Float[Array, "*B"]:
    """The cotangent of every term: dy/n, dy, or dy. The backward of ``reduced``."""
    # multiply by 1/n instead of dividing by n: in float16 a count above 65,504 is infinite
    return jnp.broadcast_to(dy * (1 / max(math.prod(shape), 1)) if reduction == "mean" else dy, shape)


def same_shape(name: str, predictions: Array, targets: Array) -> None:
    require_arrays(name, predictions, targets)
    if predictions.shape != targets.shape:
        raise ShapeError(
            f"{name} expects targets in the shape of the predictions; got {predictions.shape} and {targets.shape}"
        )


def integer_labels(name: str, predictions: Float[Array, "*B K"], labels: Int[Array, "*B"]) -> Int[Array, "*B"]:
    """The labels as int32: a byte cannot be compared with 256 classes. Raises ShapeError."""
    require_arrays(name, predictions, labels)
    if predictions.shape[:-1] != labels.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ShapeError(
            f"{name} expects predictions (*B, K) and integer labels (*B); "
            f"got {predictions.shape} and {labels.dtype} {labels.shape}"
        )
    return labels.astype(jnp.int32)


def valid(predictions: Float[Array, "*B K"], labels: Int[Array, "*B"]) -> Bool[Array, "*B"]:
    """True for a label in [0, K)."""
    return (labels >= 0) & (labels < predictions.shape[-1])


def at_label(values: Float[Array, "*B K"], labels: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """The value at each label; NaN for a label outside [0, K)."""
    taken = jnp.take_along_axis(values, labels[..., None], axis=-1, mode="clip")[..., 0]
    return jnp.where(valid(values, labels), taken, jnp.nan)
