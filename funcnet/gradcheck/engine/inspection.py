"""Which primitives, custom derivatives and constants a function computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from .leaves import is_float


def primitives(f: Callable[..., Any], floats: list[Any]) -> set[str]:
    """The names of the primitives in ``f``, at any depth; none where it cannot be traced."""
    try:
        jaxpr = jax.make_jaxpr(f)(*floats)
    except jax.errors.JAXTypeError:
        return set()
    return {eqn.primitive.name for eqn in equations(jaxpr.jaxpr)}


def custom_derivatives(f: Callable[..., Any], floats: list[Any]) -> list[str]:
    """The names of the functions with a ``custom_jvp`` or ``custom_vjp`` of their own that ``f`` calls."""
    found: list[str] = []
    try:
        jaxpr = jax.make_jaxpr(f)(*floats).jaxpr
    except jax.errors.JAXTypeError:  # it looks at values
        return found
    for eqn in equations(jaxpr):
        if eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call"):
            found.append(str(getattr(eqn.params["call_jaxpr"].jaxpr.debug_info, "func_name", "a custom derivative")))
    return list(dict.fromkeys(found))


def rounded_constants(f: Callable[..., Any], floats: list[Any]) -> list[float]:
    """Numbers that ``f`` computes with which are those of float32, but for short ones: 0.10000000149011612, not 0.5."""
    try:
        closed = jax.make_jaxpr(f)(*floats)
    except jax.errors.JAXTypeError:  # it looks at values
        return []
    literals = [v.val for eqn in equations(closed.jaxpr) for v in eqn.invars if hasattr(v, "val")]
    numbers = [float(n) for c in (*literals, *closed.consts) if is_float(np.asarray(c)) for n in np.ravel(c)[:64]]
    return [n for n in numbers if float(np.float32(n)) == n and len(repr(n)) > 12]


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr, at any depth."""
    left = [jaxpr]
    while left:
        for eqn in left.pop().eqns:
            yield eqn
            inner = [
                part for value in eqn.params.values() for part in (value if isinstance(value, tuple) else (value,))
            ]
            left += [getattr(part, "jaxpr", part) for part in inner if hasattr(getattr(part, "jaxpr", part), "eqns")]
