"""Penalties on parameters, and the choice of the leaves that penalties and weight decay act on.

A penalty is a rule on a whole pytree of parameters. Leaves are chosen by name, never by rank: a bias that is stacked
over repeated blocks has rank 2.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..types import Params, Rule, memoized, require_arrays

WEIGHTS = ("w", "table")
"""The names of the leaves that decay by default. Biases, gains and statistics have other names."""


def named(params: Params, names: tuple[str, ...]) -> Any:
    """A tree of booleans like ``params``: True if the leaf's own name (its last dict key) is in ``names``."""

    def chosen(path: tuple[Any, ...], leaf: Any) -> bool:
        keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
        return bool(keys) and keys[-1] in names

    return jax.tree_util.tree_map_with_path(chosen, params)


def _penalty(value: Callable[[Array], Array], slope: Callable[[Array], Array], names: tuple[str, ...]) -> Rule:
    def fwd(params: PyTree[Float[Array, "..."]]) -> tuple[Float[Array, ""], Params]:
        """y = Σ value(w) over the elements of the chosen leaves. Raises ValueError if there are none."""
        require_arrays("a penalty", params)
        chosen = zip(jax.tree.leaves(params), jax.tree.leaves(named(params, names)), strict=True)
        sums = [value(leaf).sum() for leaf, is_chosen in chosen if is_chosen]
        if not sums:
            raise ValueError(f"a penalty found no leaf called {' or '.join(names)} in the parameters")
        return sum(sums[1:], sums[0]), params

    def bwd(params: Params, dy: Float[Array, ""]) -> tuple[Params]:
        """dw = dy · slope(w) on the chosen leaves, and 0 on the others."""

        def gradient(leaf, is_chosen):
            return dy.astype(leaf.dtype) * slope(leaf) if is_chosen else jnp.zeros_like(leaf)

        return (jax.tree.map(gradient, params, named(params, names)),)

    return Rule(fwd, bwd)


@memoized
def l1(strength: float = 0.01, names: tuple[str, ...] = WEIGHTS) -> Rule:
    """strength · Σ |w|, with dw = dy · strength · sign(w); the slope at 0 is 0 (Tibshirani 1996)."""
    return _penalty(lambda w: strength * jnp.abs(w), lambda w: strength * jnp.sign(w), names)


@memoized
def l2(strength: float = 0.01, names: tuple[str, ...] = WEIGHTS) -> Rule:
    """strength/2 · Σ w², with dw = dy · strength · w: thanks to the half, the strength is the rate of decay."""
    return _penalty(lambda w: (0.5 * strength) * w * w, lambda w: strength * w, names)
