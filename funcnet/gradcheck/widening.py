"""Rules that compute in float32 whatever they are given: the same equations with every float widened to float64.

So the mathematics can be judged, which their arithmetic would hide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from .packing import pack, unpack
from .subject import Subject


class NotWidened(Exception):  # noqa: N818  (never leaves the checker)
    """A loop or a branch computes in narrow floats, which are not widened inside it."""


CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def casts_down(f: Callable[..., Any], *args: Any) -> bool:
    """Whether ``f`` of float64 computes with narrower floats; False where it cannot be traced."""
    packed = pack(args)
    try:
        jaxpr = jax.make_jaxpr(lambda *arrays: f(*unpack(packed.form, arrays)))(*packed.arrays).jaxpr
    except (Exception, SystemExit):  # who runs it says it better
        return False
    return any(_narrow(v.aval) for eqn in jaxpr.eqns for v in eqn.outvars)


def widened(subject: Subject) -> Subject:
    """The subject with every float of its forward and of its backward in float64."""
    fwd = _wide(subject.fwd)
    primal = (lambda *args: fwd(*args)[0]) if subject.primal_is_fwd else _wide(subject.primal)
    return subject._replace(fwd=fwd, bwd=_wide(subject.bwd), primal=primal)


def _wide(f: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        packed = pack(args)
        closed, out = _traced(f, packed)
        values = _evaluate(closed.jaxpr, closed.consts, [_float64(a) for a in packed.arrays])
        return unpack(out, tuple(values))

    return run


def _traced(f: Callable[..., Any], packed: Any) -> tuple[Any, Any]:
    form: list[Any] = []

    def arrays_only(*arrays: Any) -> tuple[Any, ...]:
        result = pack(f(*unpack(packed.form, arrays)))
        form.append(result.form)
        return result.arrays

    closed = jax.make_jaxpr(arrays_only)(*packed.arrays)
    return closed, form[-1]


def _evaluate(jaxpr: Any, consts: Any, args: list[Any]) -> list[Any]:
    env: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*map(_float64, consts), *args), strict=True))

    def value(v: Any) -> Any:
        return _float64(jnp.asarray(v.val)) if isinstance(v, core.Literal) else env[v]

    for eqn in jaxpr.eqns:
        env.update(zip(eqn.outvars, _equation(eqn, [value(v) for v in eqn.invars]), strict=True))
    return [value(v) for v in jaxpr.outvars]


def _equation(eqn: Any, values: list[Any]) -> list[Any]:
    """One equation in float64. Raises NotWidened for a loop or a branch that computes in less."""
    name = eqn.primitive.name
    if name == "convert_element_type" and jnp.issubdtype(eqn.params["new_dtype"], jnp.floating):
        return [_float64(values[0].astype(jnp.float64))]
    if name == "reduce_precision":
        return values
    inner = next((eqn.params[key] for key in CALLS if key in eqn.params), None)
    if inner is not None and name not in ("scan", "while", "cond"):
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
    if name in ("scan", "while", "cond") and any(_narrow(v.aval) for v in (*eqn.invars, *eqn.outvars)):
        raise NotWidened
    params = {key: _wide_dtype(param) for key, param in eqn.params.items()}
    outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
    return [_float64(out) for out in (outs if eqn.primitive.multiple_results else [outs])]


def _wide_dtype(param: Any) -> Any:
    """A parameter that is a floating dtype (preferred_element_type, dtype) as float64."""
    is_dtype = isinstance(param, np.dtype) or (isinstance(param, type) and issubclass(param, np.generic))
    return np.dtype(np.float64) if is_dtype and jnp.issubdtype(param, jnp.floating) else param


def _float64(array: Any) -> Any:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _narrow(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.floating) and aval.dtype != jnp.float64
