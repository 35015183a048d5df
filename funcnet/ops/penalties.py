"""Penalties on parameters: rules on a whole pytree, which look at the leaves called by one of ``names`` only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..types import WEIGHTS, Params, Rule, named


def _penalty(value, slope, names: tuple[str, ...]) -> Rule:
    """Σ over the chosen leaves of Σ value(w); its gradient is slope(w) there and zero elsewhere."""

    def fwd(params: PyTree[Float[Array, "..."]]) -> tuple[Float[Array, ""], Params]:
        chosen = zip(jax.tree.leaves(params), jax.tree.leaves(named(params, names)), strict=True)
        sums = [value(leaf).sum() for leaf, is_chosen in chosen if is_chosen]
        if not sums:
            raise ValueError(f"a penalty found no leaf called {' or '.join(names)} in the parameters")
        return sum(sums[1:], sums[0]), params

    def bwd(params: Params, dy: Float[Array, ""]) -> tuple[Params]:
        def gradient(leaf, is_chosen):
            return dy.astype(leaf.dtype) * slope(leaf) if is_chosen else jnp.zeros_like(leaf)

        return (jax.tree.map(gradient, params, named(params, names)),)

    return Rule(fwd, bwd)


def l1(strength: float = 0.01, names: tuple[str, ...] = WEIGHTS) -> Rule:
    """strength · Σ |w|, with dw = dy · strength · sign(w); the slope at 0 is 0 (Tibshirani 1996)."""
    return _penalty(lambda w: strength * jnp.abs(w), lambda w: strength * jnp.sign(w), names)


def l2(strength: float = 0.01, names: tuple[str, ...] = WEIGHTS) -> Rule:
    """strength/2 · Σ w², with dw = dy · strength · w: the half makes the strength the rate of decay."""
    return _penalty(lambda w: (0.5 * strength) * w * w, lambda w: strength * w, names)
