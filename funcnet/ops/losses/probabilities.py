"""Losses on probabilities, for a network that ends in sigmoid or softmax.

Where the logits are at hand, the losses on logits are better: they stay finite where a probability has rounded to 0.

Nothing is clipped to avoid log 0. Where the probability is 0 and so is the target, t log p is 0, with the slope 0 that
it has for every p > 0. Where the target is above 0 the loss is infinite and the slope −∞: training stops there with an
error, and does not go on with a number that an epsilon made. A cotangent is that of each probability on its own; that
probabilities sum to one is the business of the softmax that they come from.
"""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...types import Below, Rule
from .reduction import Pair, Reduction, at_label, check_reduction, integer_labels, reduced, same_shape, spread, valid


def _possible(t: Float[Array, "*B"], p: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """p, and 1 where both are 0: so that t log p is 0 there, and its slope t/p too."""
    return jnp.where((t == 0) & (p == 0), jnp.ones_like(p), p)


# ---------------------------------------------------------------- binary cross-entropy


def binary_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with targets in [0, 1], elementwise; the mean is over all elements."""
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −t log p − (1 − t) log(1 − p), with 0 log 0 = 0."""
        same_shape("binary_cross_entropy", probabilities, targets)
        certain = (targets == 1) & (probabilities == 1)
        log_q = jnp.log1p(-jnp.where(certain, jnp.zeros_like(probabilities), probabilities))
        terms = -targets * jnp.log(_possible(targets, probabilities)) - (1 - targets) * log_q
        return reduced(terms, reduction), Pair(probabilities, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dp = ((1 − t)/(1 − p) − t/p) dy/n,  dt = (log(1 − p) − log p) dy/n.

        With 0/0 = 0: at p = t = 0 the slope is 1, that of −log(1 − p). Where p is 0 or 1 and t is not, it is ∓∞.
        """
        p, t = residuals
        scale = spread(dy, p.shape, reduction)
        dp = (1 - t) / _possible(1 - t, 1 - p) - t / _possible(t, p)
        return dp * scale, (jnp.log1p(-p) - jnp.log(p)) * scale

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- categorical cross-entropy


def categorical_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with one-hot or soft labels of the same shape; the mean is over examples.

    Probabilities are taken as they are, and not divided by their sum.
    """
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −Σ_k t_k log p_k, with 0 log 0 = 0."""
        same_shape("categorical_cross_entropy", probabilities, labels)
        terms = -(labels * jnp.log(_possible(labels, probabilities))).sum(axis=-1)
        return reduced(terms, reduction), Pair(probabilities, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = −t/p · dy/n, with 0/0 = 0;  dt = −log p · dy/n."""
        p, t = residuals
        scale = spread(dy, p.shape[:-1], reduction)[..., None]
        return -t / _possible(t, p) * scale, -jnp.log(p) * scale

    return Rule(fwd, bwd)


def sparse_categorical_cross_entropy(reduction: Reduction = "mean") -> Rule:
    """Cross-entropy of probabilities with integer labels; the mean is over examples.

    A label outside [0, K) gives NaN in the loss and in the gradient: there is no class to compare with.
    """
    check_reduction(reduction)

    def fwd(
        probabilities: Float[Array, "*B K"], labels: Annotated[Int[Array, "*B"], Below("K")]
    ) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce −log p at the label; infinite where that is 0."""
        labels = integer_labels("sparse_categorical_cross_entropy", probabilities, labels)
        return reduced(-jnp.log(at_label(probabilities, labels)), reduction), Pair(probabilities, labels)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], None]:
        """dp = −1/p · dy/n at the label, and 0 elsewhere."""
        p, labels = residuals
        scale = jnp.where(valid(p, labels), spread(dy, labels.shape, reduction), jnp.nan)
        t = jax.nn.one_hot(labels, p.shape[-1], dtype=p.dtype)
        return -t / _possible(t, p) * scale[..., None], None

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- Kullback-Leibler divergence


def kl_divergence(reduction: Reduction = "mean") -> Rule:
    """D(t ‖ p), what it costs to take p for the distribution t (Kullback & Leibler 1951); the mean is over examples.

    It is the cross-entropy less the entropy of the targets, so that its smallest value is 0, at p = t.
    """
    check_reduction(reduction)

    def fwd(probabilities: Float[Array, "*B K"], targets: Float[Array, "*B K"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce Σ_k t_k (log t_k − log p_k), with 0 log 0 = 0."""
        same_shape("kl_divergence", probabilities, targets)
        log_ratio = jnp.log(_possible(targets, targets)) - jnp.log(_possible(targets, probabilities))
        return reduced((targets * log_ratio).sum(axis=-1), reduction), Pair(probabilities, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
        """dp = −t/p · dy/n, with 0/0 = 0;  dt = (log t − log p + 1) dy/n, which is −∞ at t = 0 < p."""
        p, t = residuals
        scale = spread(dy, p.shape[:-1], reduction)[..., None]
        return -t / _possible(t, p) * scale, (jnp.log(t) - jnp.log(p) + 1) * scale

    return Rule(fwd, bwd)
