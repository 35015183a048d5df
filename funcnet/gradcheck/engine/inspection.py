"""Which primitives, dtypes, custom derivatives and constants a function computes with, and how much it computes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..tolerances import CONSTANTS, SHORT
from .jaxprs import closed_jaxpr, equations, is_library
from .leaves import is_float, pack, unpack

# Without one of these a function has no kink. Calls with a derivative of their own may hide one.
KINKED = {"max", "min", "abs", "sign", "select_n", "clamp", "reduce_max", "reduce_min", "argmax", "argmin", "sort"}
KINKED |= {"cummax", "cummin", "reduce_window_max", "select_and_gather_add", "floor", "ceil", "round", "top_k"}
KINKED |= {"custom_jvp_call", "custom_vjp_call", "cond"}


def _equations(f: Callable[..., Any], arrays: Sequence[Any]) -> list[Any]:
    """Every equation of ``f(*arrays)``, at any depth; none if it looks at values."""
    try:
        return list(equations(closed_jaxpr(f, arrays).jaxpr))
    except jax.errors.JAXTypeError:
        return []


def primitives(f: Callable[..., Any], floats: Sequence[Any]) -> set[str]:
    """The names of the primitives that ``f`` computes with; none if it looks at values."""
    return {eqn.primitive.name for eqn in _equations(f, floats)}


def custom_derivatives(f: Callable[..., Any], floats: Sequence[Any]) -> list[str]:
    """The names of the functions with a ``custom_jvp`` or ``custom_vjp`` of their own that ``f`` calls."""
    calls = [eqn for eqn in _equations(f, floats) if eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call")]
    infos = [eqn.params["call_jaxpr"].jaxpr.debug_info for eqn in calls]
    return list(dict.fromkeys(str(getattr(info, "func_name", "a custom derivative")) for info in infos))


def rounded_constants(f: Callable[..., Any], floats: Sequence[Any]) -> list[float]:
    """The constants in ``f`` that were rounded to float32, except whole and short ones such as 0.5 and 2**-52."""
    try:
        closed = closed_jaxpr(f, floats)
    except jax.errors.JAXTypeError:  # it looks at values
        return []
    literals = [v.val for eqn in equations(closed.jaxpr) for v in eqn.invars if hasattr(v, "val")]
    numbers = [
        float(n) for c in (*literals, *closed.consts) if is_float(np.asarray(c)) for n in np.ravel(c)[:CONSTANTS]
    ]
    exact = lambda n: n.is_integer() or (math.frexp(n)[0] * 2**SHORT).is_integer()  # noqa: E731  (few bits: 2**-52)
    return [n for n in numbers if float(np.float32(n)) == n and not exact(n) and len(repr(n)) > SHORT]


def casts_down(f: Callable[..., Any], *args: Any) -> bool:
    """Whether ``f`` of float64 computes with narrower floats; False if it cannot be traced.

    Equations inside library functions are ignored.
    """
    return any(dtype != jnp.float64 for dtype in own_dtypes(f, *args))


def own_dtypes(f: Callable[..., Any], *args: Any) -> set[Any]:
    """The floating dtypes of what ``f`` computes outside library functions; none if it cannot be traced."""
    packed = pack(args)
    try:
        jaxpr = jax.make_jaxpr(lambda *arrays: f(*unpack(packed.form, arrays)))(*packed.arrays).jaxpr
    except (Exception, SystemExit):  # the eager run reports the error
        return set()
    types = [v.aval for eqn in equations(jaxpr, but=is_library) for v in eqn.outvars]
    return {aval.dtype for aval in types if is_float(aval)}


def float_dtypes(f: Callable[..., Any], arrays: Sequence[Any]) -> set[Any]:
    """The floating dtypes of all that ``f`` computes with. Raises JAXTypeError if it looks at values."""
    every = equations(closed_jaxpr(f, arrays).jaxpr)
    return {v.aval.dtype for eqn in every for v in (*eqn.invars, *eqn.outvars) if is_float(v.aval)}


def amount(f: Callable[..., Any], arrays: Sequence[Any]) -> tuple[int, int]:
    """The number of equations in ``f``, and of elements in their results. Raises JAXTypeError if it looks at values."""
    every = list(equations(closed_jaxpr(f, arrays).jaxpr))
    return len(every), sum(math.prod(v.aval.shape) for eqn in every for v in eqn.outvars)


def calls_autodiff(f: Callable[..., Any], *args: Any) -> bool:
    """Whether JAX differentiates something in ``f``; False if it cannot be traced, or does not run.

    JAX notes the transformation in the name stack of what it differentiates, also in code that it compiled before.
    Linear solvers of JAX's, which hold their own transpose, are not looked into.
    """
    packed = pack(args)
    try:
        jaxpr = jax.make_jaxpr(lambda *arrays: f(*unpack(packed.form, arrays)))(*packed.arrays).jaxpr
    except (Exception, SystemExit):  # the eager run reports the error
        return False
    is_solver = lambda eqn: eqn.primitive.name == "custom_linear_solve" or is_library(eqn)  # noqa: E731
    stacks = {str(eqn.source_info.name_stack) for eqn in equations(jaxpr, but=is_solver)}
    return any(mark in stack for stack in stacks for mark in ("jvp(", "transpose("))
