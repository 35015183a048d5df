"""Inputs that random ones do not reach: exact zeros, ties, values far out, masks that hide a whole row; activations."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.leaves import floats_of, is_float
from .draws import Draw, keeping

FAR, UNBOUNDED = ("large values", "extreme values"), ("normal", "positive")
FEW = 3  # leaves that are made like activations
SMOOTH_TOO = ("exact zeros", *FAR, "a row of each mask wholly False")  # tried on functions without kinks too


def _with_zeros(args: Any, rng: np.random.Generator) -> Any:
    return _floats(args, lambda leaf: np.where(rng.random(leaf.shape) < 0.3, 0.0, leaf))


def _with_ties(args: Any, rng: np.random.Generator) -> Any:
    """Neighbours along the last axis are equal, and so are the first two rows."""

    def tied(leaf):
        tied = leaf.copy()
        if tied.ndim and tied.shape[-1] > 1:
            tied[..., 1::2] = tied[..., : tied.shape[-1] // 2 * 2 : 2]
        if tied.ndim > 1 and len(tied) > 1:
            tied[1] = tied[0]
        return tied

    return _floats(args, tied)


def _with_ties_between(args: Any, rng: np.random.Generator) -> Any:
    """Leaves of one shape share about half of their elements; None if no two have one shape."""
    first: dict[tuple[int, ...], np.ndarray] = {}
    shapes = [np.shape(leaf) for leaf in floats_of(args)]
    if len(set(shapes)) == len(shapes):
        return None

    def tied(leaf):
        other = first.setdefault(leaf.shape, leaf)
        return np.where(rng.random(leaf.shape) < 0.5, other, leaf)

    return _floats(args, tied)


def _with_large(args: Any, rng: np.random.Generator) -> Any:
    """A third of the elements up to thirty times larger: beyond caps."""
    return _floats(args, lambda leaf: leaf * np.where(rng.random(leaf.shape) < 0.3, rng.uniform(5, 30, leaf.shape), 1))


def _with_extremes(args: Any, rng: np.random.Generator) -> Any:
    """A few elements of a thousand and more, at which exp overflows or vanishes; of both signs if the leaf has both."""

    def grown(leaf):
        if leaf.size > 2:
            leaf.flat[[0, -1]] = 1e3 * (1 + np.abs(leaf.flat[[0, -1]])) * (1, -1 if (leaf < 0).any() else 1)
        return leaf

    return _floats(args, grown)


def _with_false_rows(args: Any, rng: np.random.Generator) -> Any:
    masks = [np.asarray(leaf) for leaf in jax.tree.leaves(args) if getattr(leaf, "dtype", None) == np.bool_]
    if not any(mask.ndim for mask in masks):
        return None

    def emptied(leaf):
        if getattr(leaf, "dtype", None) != np.bool_ or not np.ndim(leaf):
            return leaf
        mask = np.array(leaf)
        mask.reshape(-1, mask.shape[-1])[0] = False
        return jnp.asarray(mask)

    return jax.tree.map(emptied, args)


# ---------------------------------------------------------------- like activations


def _with_outliers(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One channel of sixteen, at least one, is 20 to 50 times as large in every row."""
    channels = np.ones(leaf.shape[-1])
    few = rng.choice(len(channels), -(-len(channels) // 16), replace=False)
    channels[few] = rng.uniform(20, 50, len(few))
    return leaf * channels


def _with_offset(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean lies far from zero, as measured by the spread: as far as float32 leaves four digits of the spread."""
    return leaf + 100 * leaf.std()


def activations(draw: Draw, kind: str, seed: int) -> Iterator[tuple[int, Any]]:
    """Arguments in which one differentiable leaf is like activations, with its number: one after another, as what is
    computed from several grows with their product. The largest FEW are tried, if they may be changed."""
    leaves, structure = jax.tree.flatten(draw.args)
    places = [n for n, leaf in enumerate(leaves) if is_float(leaf)]
    wide = [np.asarray(leaves[n], np.float64) for n in places]
    free = [i for i, leaf in enumerate(wide) if i not in draw.kept and not _is_particular(leaf)]
    for i in sorted(sorted(free, key=lambda i: -wide[i].size)[:FEW]):
        changed = ACTIVATIONS[kind](wide[i], np.random.default_rng([draw.seed, seed])).astype(leaves[places[i]].dtype)
        n = places[i]
        yield i, jax.tree.unflatten(structure, [*leaves[:n], jax.device_put(changed), *leaves[n + 1 :]])


def _is_particular(leaf: np.ndarray) -> bool:
    """Whether an array may be what its values say: a number, a mask to add, whole numbers, probabilities and their
    logarithms, sorted rows."""
    if leaf.size < 2 or not leaf.ndim or not np.isfinite(leaf).all():
        return True
    steps = np.diff(leaf, axis=-1)
    return bool(
        (leaf == np.round(leaf)).all()
        or (leaf <= 0).all()
        or (abs(leaf - 0.5) <= 0.5).all()
        or (leaf.shape[-1] > 1 and ((steps >= 0).all() or (steps <= 0).all()))
    )


def _floats(args: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    return jax.tree.map(lambda leaf: change(np.array(leaf)) if is_float(leaf) else leaf, args)


def varied(make: Callable[[Any, np.random.Generator], Any], draw: Draw, rng: np.random.Generator) -> Any:
    """The arguments of a draw changed by ``make``, but not the leaves that are ``kept``; None if nothing changes."""
    made = make(draw.args, rng)
    return None if made is None or len(draw.kept) == len(floats_of(draw.args)) else keeping(draw, made)


VARIANTS: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "exact zeros": _with_zeros,
    "ties": _with_ties,
    "ties between arguments": _with_ties_between,
    "large values": _with_large,
    "extreme values": _with_extremes,
    "a row of each mask wholly False": _with_false_rows,
}

# What runs in a narrow dtype is tried on these.
ACTIVATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "outlier channels": _with_outliers,
    "a mean of 100 spreads": _with_offset,
    "saturating scores": lambda leaf, rng: 30 * leaf,
    "tiny values": lambda leaf, rng: 1e-4 * leaf,
}
