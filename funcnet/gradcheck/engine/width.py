"""JAX's settings while the checker computes: 64 bits, and products in full precision."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import abstract_arrays, dtypes, literals

from .leaves import floats_of


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """With x64 and full precision.

    JAX 0.10 remembers in which width it first used a NumPy array, whatever x64 says later, so that a constant of the
    forward would be float64 in float32 code. Here it looks again each time.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        if not hasattr(abstract_arrays, "_canonicalize_ndarray_dtype"):
            yield
            return
        handlers = dtypes.canonicalize_value_handlers
        remembering, handlers[np.ndarray] = handlers[np.ndarray], _as_wide_as_now
        try:
            yield
        finally:
            handlers[np.ndarray] = remembering


def _as_wide_as_now(array: np.ndarray) -> Any:
    return literals.TypedNdArray(np.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype)))


def as_users_have_it(args: Any) -> Any:
    """Without x64 unless there is a float64: with it, an array that a function makes without a dtype would be one."""
    return jax.enable_x64(any(leaf.dtype == jnp.float64 for leaf in floats_of(args)))
