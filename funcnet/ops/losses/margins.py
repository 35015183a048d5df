"""Losses with a margin: beyond it there is no cost and no gradient."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...types import Residuals, Rule, ShapeError, memoized, require_arrays
from .reduction import Reduction, check_positive, check_reduction, reduced, same_shape, spread

Embedding = Float[Array, "*B E"]


def _same_embeddings(name: str, *embeddings: Embedding) -> None:
    require_arrays(name, *embeddings)
    shapes = [embedding.shape for embedding in embeddings]
    if len(set(shapes)) != 1 or not shapes[0]:
        raise ShapeError(f"{name} expects embeddings (*B, E) of one shape; got {', '.join(map(str, shapes))}")


# ---------------------------------------------------------------- squared hinge


@memoized
def squared_hinge(reduction: Reduction = "mean") -> Rule:
    """max(0, 1 − t p)² with targets −1 or 1, elementwise (Cortes & Vapnik 1995); the mean is over all elements."""
    check_reduction(reduction)

    def fwd(predictions: Float[Array, "*B"], targets: Float[Array, "*B"]) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce max(0, 1 − t p)², for p and t of one shape. Raises ShapeError."""
        same_shape("squared_hinge", predictions, targets)
        return reduced(jnp.maximum(1 - targets * predictions, 0) ** 2, reduction), (predictions, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
        """dp = −2t max(0, 1 − t p) dy/n,  dt = −2p max(0, 1 − t p) dy/n.

        There is no kink: at t p = 1 the slope is 0 on both sides.
        """
        p, t = residuals
        slack = -2 * jnp.maximum(1 - t * p, 0) * spread(dy, p.shape, reduction)
        return t * slack, p * slack

    return Rule(fwd, bwd)


# ---------------------------------------------------------------- embeddings


@memoized
def contrastive(margin: float = 1.0, *, reduction: Reduction = "mean") -> Rule:
    """Pulls the embeddings of a like pair together and pushes an unlike pair ``margin`` apart; the mean is over pairs.

    Hadsell, Chopra & LeCun (2006), equation 4, except that the target of a like pair is 1, not 0.
    """
    check_reduction(reduction)
    check_positive(margin=margin)

    def fwd(
        predictions: tuple[Embedding, Embedding], targets: Float[Array, "*B"]
    ) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce ½ t D² + ½ (1 − t) max(0, m − D)², with D = ‖u − v‖: embeddings (u, v) both (*B, E) and t (*B).

        t is 1 for a like pair, 0 for an unlike one. Raises ShapeError.
        """
        u, v = predictions
        _same_embeddings("contrastive", u, v)
        same_shape("contrastive", u[..., 0], targets)
        squared = ((u - v) ** 2).sum(axis=-1)
        apart = jnp.maximum(margin - jnp.sqrt(squared), 0)
        return reduced(0.5 * (targets * squared + (1 - targets) * apart**2), reduction), (predictions, targets)

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[tuple[Embedding, Embedding], Float[Array, "*B"]]:
        """du = (t − (1 − t) max(0, m − D)/D)(u − v) dy/n,  dv = −du,  dt = ½(D² − max(0, m − D)²) dy/n.

        ∂D/∂u = (u − v)/D has no direction at D = 0. There du is 0, so an unlike pair with equal embeddings stays put.
        At D = m both sides have the slope 0.
        """
        (u, v), t = residuals
        difference, scale = u - v, spread(dy, t.shape, reduction)
        distance = jnp.sqrt((difference**2).sum(axis=-1))
        apart = jnp.maximum(margin - distance, 0)
        away = (1 - t) * apart / jnp.where(distance == 0, jnp.ones_like(distance), distance)
        du = ((t - away) * scale)[..., None] * difference
        return (du, -du), 0.5 * (distance**2 - apart**2) * scale

    return Rule(fwd, bwd)


@memoized
def triplet(margin: float = 0.2, *, reduction: Reduction = "mean") -> Rule:
    """Pulls an anchor nearer to its positive than to its negative, by ``margin``; the mean is over triplets.

    Distances are squared (Schroff, Kalenichenko & Philbin 2015, FaceNet, equation 3). The triplet itself says what is
    alike: targets are not used and may be None.
    """
    check_reduction(reduction)
    check_positive(margin=margin)

    def fwd(
        predictions: tuple[Embedding, Embedding, Embedding], targets: Any = None
    ) -> tuple[Float[Array, "*R"], Residuals]:
        """L = reduce max(0, ‖a − p‖² − ‖a − n‖² + m), for anchor a, positive p and negative n, each (*B, E).

        Raises ShapeError.
        """
        _same_embeddings("triplet", *predictions)
        return reduced(jnp.maximum(_gap(*predictions), 0), reduction), predictions

    def bwd(residuals: Residuals, dy: Float[Array, "*R"]) -> tuple[tuple[Embedding, Embedding, Embedding], None]:
        """da = 2(n − p) dy/N,  dp = 2(p − a) dy/N,  dn = 2(a − n) dy/N if the loss is above 0.

        Otherwise, and at the kink, all are 0. In da the two a cancel: 2(a − p) − 2(a − n).
        """
        anchor, positive, negative = residuals
        gap = _gap(*residuals)
        scale = (2 * jnp.where(gap > 0, spread(dy, gap.shape, reduction), jnp.zeros_like(gap)))[..., None]
        return ((negative - positive) * scale, (positive - anchor) * scale, (anchor - negative) * scale), None

    def _gap(anchor: Embedding, positive: Embedding, negative: Embedding) -> Float[Array, "*B"]:
        return ((anchor - positive) ** 2).sum(axis=-1) - ((anchor - negative) ** 2).sum(axis=-1) + margin

    return Rule(fwd, bwd)
