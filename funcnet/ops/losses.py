"""Losses: rules on ``(predictions, targets)``, made by factories.

Every loss is a mean, a sum or nothing over its terms, by ``reduction``; ``dy`` has the shape of what it returns.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..types import Below, Rule, ShapeError
from .activations import log_softmax, softmax, softplus

Reduction = Literal["mean", "sum", "none"]


class Pair(NamedTuple):
    """What every loss saves: its two arguments. Probabilities are recomputed, which is cheaper than keeping them."""

    predictions: Float[Array, "*P"]
    targets: Array


def _checked(reduction: Reduction, label_smoothing: float = 0.0) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none'; got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing lies in [0, 1]; got {label_smoothing}")


def _reduce(terms: Float[Array, "*B"], reduction: Reduction) -> Float[Array, "*R"]:
    """y = (1/n) Σ terms, Σ terms, or terms."""
    return {"mean": jnp.mean, "sum": jnp.sum, "none": lambda t: t}[reduction](terms)


def _spread(dy: Float[Array, "*R"], shape: tuple[int, ...], reduction: Reduction) -> Float[Array, "*B"]:
    """The cotangent of every term: dy/n, dy, or dy; the backward of ``_reduce``."""
    # times 1/n, not divided by n: in float16 a count above 65,504 is infinite
    return jnp.broadcast_to(dy * (1 / math.prod(shape)) if reduction == "mean" else dy, shape)


def _same_shape(name: str, predictions: Array, targets: Array) -> None:
    if predictions.shape != targets.shape:
        raise ShapeError(
            f"{name} wants targets in the shape of the predictions; got {predictions.shape} and {targets.shape}"
        )


# ---------------------------------------------------------------- mean squared error


def mean_squared_error(reduction: Reduction = "mean") -> Rule:
    """(p − t)² for every element; the mean is over all of them, so that N examples of K outputs divide by N·K."""
    _checked(reduction)

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce (p − t)²."""
        _same_shape("mean_squared_error", predictions, targets)
        return _reduce((predictions - targets) ** 2, reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = 2(p − t) dy/n,  dt = −dp, where n counts every element of p under 'mean'."""
        predictions, targets = residuals
        dp = 2 * (predictions - targets) * _spread(dy, predictions.shape, reduction)
        return dp, -dp

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- softmax cross-entropy


def sparse_softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with integer labels; the mean is over examples.

    With smoothing ε the target is 1 − ε on the label plus ε/K everywhere (Szegedy et al. 2016). A label
    outside [0, K) gives NaN in the loss and in the gradient: there is no class to compare with.
    """
    _checked(reduction, label_smoothing)

    def valid(logits: Float[Array, "*B K"], labels: Int[Array, "*B"]) -> Bool[Array, "*B"]:
        return (labels >= 0) & (labels < logits.shape[-1])

    def fwd(
        logits: Float[Array, "*B K"], labels: Annotated[Int[Array, "*B"], Below("K")]
    ) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z): without smoothing −log p at the label.

        Softmax and logarithm are one: log p = z − log Σ eᶻ is finite where p underflows.
        """
        if logits.shape[:-1] != labels.shape or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ShapeError(
                f"sparse_softmax_cross_entropy wants logits (*B, K) and integer labels (*B); "
                f"got {logits.shape} and {labels.dtype} {labels.shape}"
            )
        labels = labels.astype(jnp.int32)  # a byte cannot be compared with 256 classes
        log_p, _ = log_softmax.fwd(logits)
        at_label = jnp.take_along_axis(log_p, labels[..., None], axis=-1, mode="clip")[..., 0]
        terms = -(1 - label_smoothing) * jnp.where(valid(logits, labels), at_label, jnp.nan)
        if label_smoothing:
            terms -= label_smoothing * log_p.mean(axis=-1)
        return _reduce(terms, reduction), Pair(logits, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], None]:
        """dz = (p − t) dy/n.

        ∂(−Σ t_k log p_k)/∂z_j = p_j Σ_k t_k − t_j, and t sums to one. Saves z and recomputes p.
        """
        logits, labels = residuals
        p, _ = softmax.fwd(logits)
        target = _smooth(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
        scale = jnp.where(valid(logits, labels), _spread(dy, labels.shape, reduction), jnp.nan)
        return (p - target) * scale[..., None], None

    return Rule(fwd, bwd)


def softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with one-hot or soft labels of the same shape; the mean is over examples.

    With smoothing ε the target is (1 − ε)t + ε/K (Szegedy et al. 2016).
    """
    _checked(reduction, label_smoothing)

    def fwd(logits: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z)."""
        _same_shape("softmax_cross_entropy", logits, labels)
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        impossible = (target == 0) & jnp.isneginf(log_p)  # 0 log 0 = 0
        terms = -(target * jnp.where(impossible, jnp.zeros_like(log_p), log_p)).sum(axis=-1)
        return _reduce(terms, reduction), Pair(logits, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dz = (p Σ_k t_k − t) dy/n,  dt = −(1 − ε) log p · dy/n.

        The labels need not sum to one: their sum weighs the example. Saves z and t, recomputes p.
        """
        logits, labels = residuals
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        scale = _spread(dy, logits.shape[:-1], reduction)[..., None]
        dz = (jnp.exp(log_p) * target.sum(axis=-1, keepdims=True) - target) * scale
        return dz, -(1 - label_smoothing) * log_p * scale

    return Rule(fwd, bwd)


def _smooth(target: Float[Array, "*B K"], smoothing: float) -> Float[Array, "*B K"]:
    return (1 - smoothing) * target + smoothing / target.shape[-1] if smoothing else target


# ---------------------------------------------------------------- binary cross-entropy


def sigmoid_binary_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of σ(logits) with targets in [0, 1], elementwise; the mean is over all elements."""
    _checked(reduction)

    def fwd(logits: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −t log σ(z) − (1 − t) log σ(−z) = reduce (softplus(z) − t z), finite for every z."""
        _same_shape("sigmoid_binary_cross_entropy", logits, targets)
        return _reduce(softplus.fwd(logits)[0] - targets * logits, reduction), Pair(logits, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dz = (σ(z) − t) dy/n,  dt = −z dy/n."""
        logits, targets = residuals
        scale = _spread(dy, logits.shape, reduction)
        return (jax.nn.sigmoid(logits) - targets) * scale, -logits * scale

    return Rule(fwd, bwd)
