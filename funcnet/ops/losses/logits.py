"""Cross-entropy on logits: the loss and the activation before it are one, and finite for every logit."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...types import Below, Rule
from ..activations import log_softmax, softmax, softplus
from .reduction import Pair, Reduction, at_label, check_reduction, integer_labels, reduced, same_shape, spread, valid


def _check(reduction: Reduction, label_smoothing: float) -> None:
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing lies in [0, 1]; got {label_smoothing}")


# ---------------------------------------------------------------- softmax cross-entropy


def sparse_softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with integer labels; the mean is over examples.

    With smoothing ε the target is 1 − ε on the label plus ε/K everywhere (Szegedy et al. 2016). A label
    outside [0, K) gives NaN in the loss and in the gradient: there is no class to compare with.
    """
    _check(reduction, label_smoothing)

    def fwd(
        logits: Float[Array, "*B K"], labels: Annotated[Int[Array, "*B"], Below("K")]
    ) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z): without smoothing −log p at the label.

        Softmax and logarithm are one: log p = z − log Σ eᶻ is finite where p underflows.
        """
        labels = integer_labels("sparse_softmax_cross_entropy", logits, labels)
        log_p, _ = log_softmax.fwd(logits)
        terms = -(1 - label_smoothing) * at_label(log_p, labels)
        if label_smoothing:
            terms -= label_smoothing * log_p.mean(axis=-1)
        return reduced(terms, reduction), Pair(logits, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], None]:
        """dz = (p − t) dy/n.

        ∂(−Σ t_k log p_k)/∂z_j = p_j Σ_k t_k − t_j, and t sums to one. Saves z and recomputes p.
        """
        logits, labels = residuals
        p, _ = softmax.fwd(logits)
        target = _smooth(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
        scale = jnp.where(valid(logits, labels), spread(dy, labels.shape, reduction), jnp.nan)
        return (p - target) * scale[..., None], None

    return Rule(fwd, bwd)


def softmax_cross_entropy(label_smoothing: float = 0.0, *, reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of softmax(logits) with one-hot or soft labels of the same shape; the mean is over examples.

    With smoothing ε the target is (1 − ε)t + ε/K (Szegedy et al. 2016).
    """
    _check(reduction, label_smoothing)

    def fwd(logits: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −Σ_k t_k log p_k, with p = softmax(z)."""
        same_shape("softmax_cross_entropy", logits, labels)
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        impossible = (target == 0) & jnp.isneginf(log_p)  # 0 log 0 = 0
        terms = -(target * jnp.where(impossible, jnp.zeros_like(log_p), log_p)).sum(axis=-1)
        return reduced(terms, reduction), Pair(logits, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dz = (p Σ_k t_k − t) dy/n,  dt = −(1 − ε) log p · dy/n.

        The labels need not sum to one: their sum weighs the example. Saves z and t, recomputes p.
        """
        logits, labels = residuals
        log_p, _ = log_softmax.fwd(logits)
        target = _smooth(labels, label_smoothing)
        scale = spread(dy, logits.shape[:-1], reduction)[..., None]
        dz = (jnp.exp(log_p) * target.sum(axis=-1, keepdims=True) - target) * scale
        return dz, -(1 - label_smoothing) * log_p * scale

    return Rule(fwd, bwd)


def _smooth(target: Float[Array, "*B K"], smoothing: float) -> Float[Array, "*B K"]:
    return (1 - smoothing) * target + smoothing / target.shape[-1] if smoothing else target


# ---------------------------------------------------------------- binary cross-entropy


def sigmoid_binary_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of σ(logits) with targets in [0, 1], elementwise; the mean is over all elements."""
    check_reduction(reduction)

    def fwd(logits: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −t log σ(z) − (1 − t) log σ(−z) = reduce (softplus(z) − t z), finite for every z."""
        same_shape("sigmoid_binary_cross_entropy", logits, targets)
        return reduced(softplus.fwd(logits)[0] - targets * logits, reduction), Pair(logits, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dz = (σ(z) − t) dy/n,  dt = −z dy/n."""
        logits, targets = residuals
        scale = spread(dy, logits.shape, reduction)
        return (jax.nn.sigmoid(logits) - targets) * scale, -logits * scale

    return Rule(fwd, bwd)
