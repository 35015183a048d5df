"""The leaves of pytrees: which are differentiable, and in which dtype they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def is_float(leaf: Any) -> bool:
    """Whether a leaf is differentiable: of a floating dtype."""
    return hasattr(leaf, "dtype") and not isinstance(leaf, type) and jnp.issubdtype(leaf.dtype, jnp.floating)


def has_cotangent(arg: Any) -> bool:
    """Whether any leaf of an argument is differentiable."""
    return any(is_float(leaf) for leaf in jax.tree.leaves(arg))


def cast(tree: Any, dtype: Any) -> Any:
    """``tree`` with its float leaves in ``dtype``; by numpy, as JAX would compile each conversion."""
    with np.errstate(over="ignore"):
        return jax.tree.map(
            lambda leaf: jax.device_put(np.asarray(leaf).astype(dtype)) if is_float(leaf) else leaf, tree
        )


class Leaf(NamedTuple):
    """A differentiable leaf of the arguments: which argument, the path in it, and its place among all leaves."""

    argument: int
    path: str
    position: int


def float_leaves(args: tuple[Any, ...]) -> list[Leaf]:
    """The differentiable leaves of the arguments, in order."""
    found = []
    for position, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(args)):
        if is_float(leaf):
            found.append(Leaf(path[0].idx, jax.tree_util.keystr(path[1:]), position))
    return found


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), "")
