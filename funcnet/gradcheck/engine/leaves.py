"""The leaves of pytrees: which are differentiable, and in which dtype they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def is_float(leaf: Any) -> bool:
    """Whether a leaf is differentiable: of a floating dtype."""
    return hasattr(leaf, "dtype") and not isinstance(leaf, type) and jnp.issubdtype(leaf.dtype, jnp.floating)


def cast(tree: Any, dtype: Any) -> Any:
    """``tree`` with its float leaves in ``dtype``; by numpy, as JAX would compile each conversion."""
    with np.errstate(over="ignore"):
        return jax.tree.map(
            lambda leaf: jax.device_put(np.asarray(leaf).astype(dtype)) if is_float(leaf) else leaf, tree
        )


def floats_of(tree: Any) -> list[Any]:
    """The differentiable leaves of a pytree, in order."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def all_finite(tree: Any) -> bool:
    """Whether every float in a pytree is finite."""
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in floats_of(tree))


class Leaf(NamedTuple):
    """The name of a differentiable leaf: its argument, and the path in it, as ``params`` and ``['w']``."""

    argument: str
    path: str

    @property
    def name(self) -> str:
        """``params['w']``."""
        return f"{self.argument}{self.path}"

    @property
    def cotangent(self) -> str:
        """``dparams['w']``."""
        return f"d{self.name}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), "")
