"""The leaves of pytrees: which are differentiable, how large they are, and pytrees taken apart into their arrays."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..tolerances import EQUAL, TINY


def is_float(leaf: Any) -> bool:
    """Whether a leaf is differentiable: of a floating dtype."""
    return hasattr(leaf, "dtype") and not isinstance(leaf, type) and jnp.issubdtype(leaf.dtype, jnp.floating)


def is_complex(leaf: Any) -> bool:
    """Whether a leaf is of a complex dtype."""
    return hasattr(leaf, "dtype") and not isinstance(leaf, type) and jnp.issubdtype(leaf.dtype, jnp.complexfloating)


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is of a floating or complex dtype."""
    return is_float(leaf) or is_complex(leaf)


def is_traced(leaf: Any) -> bool:
    """Whether JAX is tracing, so that the leaf has no value yet."""
    return isinstance(leaf, jax.core.Tracer)


def cast(tree: Any, dtype: Any) -> Any:
    """``tree`` with its float leaves in ``dtype``; by numpy, as JAX would compile each conversion."""
    with np.errstate(over="ignore"):
        return jax.tree.map(
            lambda leaf: jax.device_put(np.asarray(leaf).astype(dtype)) if is_float(leaf) else leaf, tree
        )


def with_default_integers(tree: Any) -> Any:
    """``tree`` with its integers in JAX's default width, which follows x64."""

    def fitted(a: Any) -> Any:
        if getattr(a, "dtype", None) not in (np.int64, np.int32):
            return a
        return jnp.asarray(a if is_traced(a) else np.asarray(a), int)  # without NumPy, JAX would compile it

    return jax.tree.map(fitted, tree)


def floats_of(tree: Any) -> list[Any]:
    """The differentiable leaves of a pytree, in order."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def all_finite(tree: Any) -> bool:
    """Whether every float in a pytree is finite."""
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in floats_of(tree))


def peak(tree: Any) -> float:
    """The largest absolute value among the floats in a pytree; 0 if it holds none."""
    return max((float(np.abs(leaf).max(initial=0)) for leaf in floats_of(tree)), default=0.0)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = EQUAL, scale: float | None = None) -> bool:
    """Whether two arrays of one shape differ by at most ``tolerance`` of ``scale``, or of b's largest entry."""
    with np.errstate(invalid="ignore"):  # infinity against infinity: not close
        return a.shape == b.shape and peak(a - b) <= tolerance * max(peak(b) if scale is None else scale, TINY)


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
    """The first line of an error's message, or its type if it has none."""
    try:
        said = str(error)
    except Exception:  # of an error that cannot even be printed
        said = ""
    return next(iter(said.splitlines()), "") or type(error).__name__


# ---------------------------------------------------------------- taken apart


class Float0(NamedTuple):
    """The cotangent of an integer output, which cannot be handed to a compiled function."""

    shape: tuple[int, ...]


class Packed(NamedTuple):
    """A pytree taken apart: its arrays, which can be traced and compiled, and how to put it together again."""

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
        elif hasattr(leaf, "dtype") and not isinstance(leaf, type):  # jnp.float32 itself has a dtype
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
