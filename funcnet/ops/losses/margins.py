"""Losses with a margin: what is beyond it costs nothing and has no gradient."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...types import Rule, ShapeError
from .reduction import Pair, Reduction, check_positive, check_reduction, reduced, same_shape, spread

Embedding = Float[Array, "*B E"]


def _same_embeddings(name: str, *embeddings: Embedding) -> None:
    shapes = [embedding.shape for embedding in embeddings]
    if len(set(shapes)) != 1 or not shapes[0]:
        raise ShapeError(f"{name} wants embeddings (*B, E) of one shape; got {', '.join(map(str, shapes))}")


# ---------------------------------------------------------------- squared hinge


def squared_hinge(reduction: Reduction = "mean") -> Rule:
    """max(0, 1 − t p)² with targets −1 or 1, elementwise (Cortes & Vapnik 1995); the mean is over all elements."""
    check_reduction(reduction)

    def fwd(predictions: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce max(0, 1 − t p)²."""
        same_shape("squared_hinge", predictions, targets)
        return reduced(jnp.maximum(1 - targets * predictions, 0) ** 2, reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dp = −2t max(0, 1 − t p) dy/n,  dt = −2p max(0, 1 − t p) dy/n.

        There is no kink: at t p = 1 the slope is 0 on both sides.
        """
        p, t = residuals
        slack = -2 * jnp.maximum(1 - t * p, 0) * spread(dy, p.shape, reduction)
        return t * slack, p * slack

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- embeddings


def contrastive(margin: float = 1.0, *, reduction: Reduction = "mean") -> Rule:
    """Draws the embeddings of a like pair together, and those of an unlike pair ``margin`` apart.

    The mean is over pairs. Hadsell, Chopra & LeCun (2006), equation 4, but the target of a like pair is 1, not 0.
    """
    check_reduction(reduction)
    check_positive(margin=margin)

    def fwd(predictions: tuple[Embedding, Embedding], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Pair]:
        """L = reduce ½ t D² + ½ (1 − t) max(0, m − D)², with D = ‖u − v‖ and t = 1 for a like pair, 0 for an unlike."""
        u, v = predictions
        _same_embeddings("contrastive", u, v)
        same_shape("contrastive", u[..., 0], targets)
        squared = ((u - v) ** 2).sum(axis=-1)
        apart = jnp.maximum(margin - jnp.sqrt(squared), 0)
        return reduced(0.5 * (targets * squared + (1 - targets) * apart**2), reduction), Pair(predictions, targets)

    def bwd(residuals: Pair, dy: Float[Array, "*R"]) -> tuple[tuple[Embedding, Embedding], Float[Array, "*B"]]:
        """du = (t − (1 − t) max(0, m − D)/D)(u − v) dy/n,  dv = −du,  dt = ½(D² − max(0, m − D)²) dy/n.

        ∂D/∂u = (u − v)/D is a direction, and there is none at D = 0: there du is 0, so an unlike pair of one and the
        same embedding stays. At D = m both sides have the slope 0.
        """
        (u, v), t = residuals
        difference, scale = u - v, spread(dy, t.shape, reduction)
        distance = jnp.sqrt((difference**2).sum(axis=-1))
        apart = jnp.maximum(margin - distance, 0)
        away = (1 - t) * apart / jnp.where(distance == 0, jnp.ones_like(distance), distance)
        du = ((t - away) * scale)[..., None] * difference
        return (du, -du), 0.5 * (distance**2 - apart**2) * scale

    return Rule(fwd, bwd)


def triplet(margin: float = 0.2, *, reduction: Reduction = "mean") -> Rule:
    """Wants an anchor nearer to its positive than to its negative, by ``margin``; the mean is over triplets.

    Distances are squared (Schroff, Kalenichenko & Philbin 2015, FaceNet, equation 3). No labels are needed: a triplet
    itself says what is alike, so targets are None, or labels for other eyes.
    """
    check_reduction(reduction)
    check_positive(margin=margin)

    def fwd(
        predictions: tuple[Embedding, Embedding, Embedding], targets: Any = None
    ) -> tuple[Float[Array, "*R"], tuple[Embedding, Embedding, Embedding]]:
        """L = reduce max(0, ‖a − p‖² − ‖a − n‖² + m), for predictions (anchor, positive, negative)."""
        _same_embeddings("triplet", *predictions)
        return reduced(jnp.maximum(_gap(*predictions), 0), reduction), predictions

    def bwd(
        residuals: tuple[Embedding, Embedding, Embedding], dy: Float[Array, "*R"]
    ) -> tuple[tuple[Embedding, Embedding, Embedding], None]:
        """da = 2(n − p) dy/n,  dp = 2(p − a) dy/n,  dn = 2(a − n) dy/n where the loss is above 0.

        Elsewhere they are 0, at the kink too. In da the two a cancel: 2(a − p) − 2(a − n).
        """
        anchor, positive, negative = residuals
        gap = _gap(*residuals)
        scale = (2 * jnp.where(gap > 0, spread(dy, gap.shape, reduction), jnp.zeros_like(gap)))[..., None]
        return ((negative - positive) * scale, (positive - anchor) * scale, (anchor - negative) * scale), None

    def _gap(anchor: Embedding, positive: Embedding, negative: Embedding) -> Float[Array, "*B"]:
        return ((anchor - positive) ** 2).sum(axis=-1) - ((anchor - negative) ** 2).sum(axis=-1) + margin

    return Rule(fwd, bwd)
