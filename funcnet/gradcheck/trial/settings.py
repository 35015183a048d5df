"""Checks the arguments of ``check``: each mistake in them is one line that says what was expected."""

import functools
import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...types import Layer
from .subject import InputError, Subject


class Settings(NamedTuple):
    """How a subject is to be tried."""

    in_shape: tuple[int, ...] | None
    sizes: Mapping[str, int]
    ranges: Mapping[str, str | int]
    dtypes: tuple[Any, ...]
    seed: int
    as_is: bool = False
    """Whether nothing but the dtype of the arrays given, or of the first of ``dtypes``, is tried."""
    argnums: tuple[int, ...] | None = None
    are_arrays: bool = False
    """Whether the inputs are arrays, and not to be drawn."""
    draw: Mapping[str, Any] = MappingProxyType({})
    timeout: float | None = None


def settings(
    target: Any,
    subject: Subject,
    inputs: tuple[Any, ...],
    *,
    dtypes: Any,
    seed: Any,
    in_shape: Any = None,
    sizes: Any = None,
    ranges: Any = None,
    dtype: Any = None,
    argnums: Any = None,
    draw: Any = None,
    timeout: Any = None,
) -> Settings:
    """The settings in one form. Raises InputError if one is invalid, or does not fit the target."""
    shapes = [isinstance(given, str) for i, given in enumerate(inputs) if i not in subject.static]
    drawn = not isinstance(target, Layer) and all(shapes)
    if isinstance(target, Layer) != (in_shape is not None) or (in_shape is not None and inputs):
        raise InputError(
            "a Layer needs in_shape=..., without the batch axis, and no inputs; nothing else takes in_shape"
        )
    for name, value in (("sizes", sizes), ("ranges", ranges), ("draw", draw)):
        if value and not drawn:
            raise InputError(f"{name} is for drawn inputs; here arrays or a Layer are given")
    if not drawn and any(shapes):
        raise InputError("inputs are symbolic shapes or arrays, and not some of each")
    return Settings(
        in_shape if in_shape is None else _sizes("in_shape", in_shape),
        {name: whole(f"sizes[{name!r}]", size, 1) for name, size in mapping("sizes", sizes).items()},
        {
            name: below if isinstance(below, str) else whole(f"ranges[{name!r}]", below, 1)
            for name, below in mapping("ranges", ranges).items()
        },
        _dtypes(dtypes if dtype is None or isinstance(dtype, str) else [dtype]),
        whole("seed", seed, 0),
        _as_is(dtype),
        _argnums(subject, argnums),
        bool(inputs) and not drawn,
        mapping("draw", draw),
        _seconds(timeout),
    )


def _seconds(timeout: Any) -> float | None:
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise InputError(f"timeout is a number of seconds above 0; got {timeout!r}")
    return timeout


def whole(what: str, value: Any, least: int) -> int:
    """A whole number. Raises InputError if it is none, or below ``least``."""
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise InputError(f"{what} is a whole number, at least {least}; got {value!r}")
    return found


def _sizes(what: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"{what} is a tuple of sizes; got {value!r}")
    return tuple(whole(f"each size of {what}", size, 1) for size in value)


def mapping(what: str, value: Any) -> Mapping[str, Any]:
    """A dict by names, empty for None. Raises InputError if it is none."""
    if value is None:
        return {}
    if not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        raise InputError(f"{what} is a dict with names as keys; got {value!r:.60}")
    return value


def _as_is(dtype: Any) -> bool:
    if isinstance(dtype, str) and dtype != "as-is":
        raise InputError(f"dtype is 'as-is' or a floating dtype such as jnp.bfloat16; got {dtype!r}")
    return dtype is not None


def _argnums(subject: Subject, argnums: Any) -> tuple[int, ...] | None:
    if argnums is None:
        return None
    wanted = argnums if isinstance(argnums, Sequence) else (argnums,)
    found = tuple(whole("each of argnums", i, 0) for i in wanted)
    if not found or max(found) >= len(subject.arguments):
        raise InputError(f"argnums are positions of ({', '.join(subject.arguments)}); got {argnums!r}")
    return found


def _dtypes(value: Any) -> tuple[Any, ...]:
    try:
        found = tuple(np.dtype(dtype) for dtype in value) if not isinstance(value, str) else (None,)
    except TypeError:
        found = (None,)
    if not all(dtype is not None and jnp.issubdtype(dtype, jnp.floating) for dtype in found):
        raise InputError(f"dtypes is a sequence of floating dtypes, such as (jnp.float32, jnp.bfloat16); got {value!r}")
    return found


def arrays_of(subject: Subject, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The caller's own inputs as arrays, except the static ones. Raises InputError if they cannot be arrays."""
    if not subject.required <= len(inputs) <= len(subject.arguments):
        raise InputError(f"{subject.name} takes ({', '.join(subject.arguments)}); got {len(inputs)} inputs")

    def array(name: str, leaf: Any) -> Any:
        if callable(leaf) or isinstance(leaf, bool | int):  # part of a module, or a number that is no array
            return leaf
        try:
            return jnp.asarray(leaf)
        except Exception as error:
            raise InputError(f"{name} holds {leaf!r:.40}, which is no array") from error

    found = []
    for i, (name, given) in enumerate(zip(subject.arguments, inputs, strict=False)):
        found.append(given if i in subject.static else jax.tree.map(functools.partial(array, name), given))
    return tuple(found)
