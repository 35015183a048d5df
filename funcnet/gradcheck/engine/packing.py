"""Pytrees taken apart into arrays, which can be traced and compiled, and all else."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import numpy as np

from .leaves import is_float


class Float0(NamedTuple):
    """The cotangent of an integer output, which cannot be handed to a compiled function."""

    shape: tuple[int, ...]


class Packed(NamedTuple):
    """A pytree taken apart: its arrays, and what tells how to put it together again."""

    arrays: tuple[Any, ...]
    form: Hashable

    def floats(self) -> tuple[int | None, ...]:
        """For ``vmap``: 0 for each floating array, None for the others."""
        return tuple(0 if is_float(array) else None for array in self.arrays)


def pack(tree: Any) -> Packed:
    """Arrays apart from all else, which stays as it is: Python numbers, functions, absent cotangents."""
    leaves, structure = jax.tree.flatten(tree)
    fixed: list[Any] = []
    arrays = []
    for leaf in leaves:
        if getattr(leaf, "dtype", None) == jax.dtypes.float0:
            fixed.append(Float0(np.shape(leaf)))
        elif hasattr(leaf, "dtype"):
            fixed.append(None)
            arrays.append(leaf)
        else:
            fixed.append((leaf,))
    return Packed(tuple(arrays), (structure, tuple(fixed)))


def unpack(form: Any, arrays: tuple[Any, ...]) -> Any:
    """The pytree of ``pack``, with these arrays."""
    structure, fixed = form
    left = iter(arrays)
    leaves = [
        next(left) if f is None else np.zeros(f.shape, jax.dtypes.float0) if isinstance(f, Float0) else f[0]
        for f in fixed
    ]
    return jax.tree.unflatten(structure, leaves)
