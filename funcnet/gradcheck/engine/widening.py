"""Rules that compute in float32 whatever they are given: the same equations with every float widened to float64.

So the mathematics can be judged, which their arithmetic would hide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax._src import source_info_util  # there is no public way to say which line an equation comes from
from jax.extend import core

from .packing import pack, unpack

Types = Sequence[Any]  # of arrays
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def casts_down(f: Callable[..., Any], *args: Any) -> bool:
    """Whether ``f`` of float64 computes with narrower floats; False where it cannot be traced."""
    packed = pack(args)
    try:
        jaxpr = jax.make_jaxpr(lambda *arrays: f(*unpack(packed.form, arrays)))(*packed.arrays).jaxpr
    except (Exception, SystemExit):  # who runs it says it better
        return False
    return any(_narrow(v.aval) for eqn in _unrolled(jaxpr) for v in eqn.outvars)


def _unrolled(jaxpr: Any) -> Iterator[Any]:
    """The equations, and those of loops and branches; not those of library functions, which may do as they like."""
    for eqn in jaxpr.eqns:
        yield eqn
        bodies = [eqn.params[key] for key in ("jaxpr", "cond_jaxpr", "body_jaxpr") if key in eqn.params]
        if eqn.primitive.name in ("scan", "while", "cond"):
            for body in (*bodies, *eqn.params.get("branches", ())):
                yield from _unrolled(body.jaxpr)


def widened(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with every float that it computes with in float64."""

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
        names = source_info_util.current_name_stack()
        with source_info_util.user_context(eqn.source_info.traceback, name_stack=names):  # its line remains its line
            env.update(zip(eqn.outvars, _equation(eqn, [value(v) for v in eqn.invars]), strict=True))
    return [value(v) for v in jaxpr.outvars]


def _equation(eqn: Any, values: list[Any]) -> list[Any]:
    """One equation in float64, and the bodies of loops and branches too."""
    name, params = eqn.primitive.name, eqn.params
    if name == "convert_element_type" and jnp.issubdtype(eqn.params["new_dtype"], jnp.floating):
        return [_float64(values[0].astype(jnp.float64))]
    if name == "reduce_precision":
        return values
    if name == "bitcast_convert_type":  # of bits, which are as many as they are
        return [_float64(eqn.primitive.bind(*values, **params))]
    if name == "scan":
        return _scan(eqn, values)
    if name == "while":
        return _while(params, values)
    if name == "cond":
        return lax.switch(values[0], [functools.partial(_inside, branch) for branch in params["branches"]], *values[1:])
    inner = next((params[key] for key in CALLS if key in params), None)
    if inner is not None:
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
    wide = {key: _wide_dtype(param) for key, param in params.items()}
    outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(wide))
    return [_float64(out) for out in (outs if eqn.primitive.multiple_results else [outs])]


def _inside(closed: Any, *values: Any) -> list[Any]:
    return _evaluate(closed.jaxpr, closed.consts, list(values))


def scan_counts(ins: Types, outs: Types, body_ins: Types, body_outs: Types) -> tuple[int, int]:
    """Of a scan's operands: how many are the same in every turn, and how many are carried from turn to turn.

    What is scanned over has an axis more outside than inside; the names of the counts differ among versions.
    """

    def same_rank(outside: Types, inside: Types) -> int:
        return sum(o.ndim == i.ndim for o, i in zip(outside, inside, strict=True))

    carried = same_rank(outs, body_outs)
    return same_rank(ins, body_ins) - carried, carried


def _scan(eqn: Any, values: list[Any]) -> list[Any]:
    params, body = eqn.params, eqn.params["jaxpr"]
    ins, outs = ([v.aval for v in side] for side in (eqn.invars, eqn.outvars))
    fixed, carried = scan_counts(ins, outs, body.in_avals, body.out_avals)

    def turn(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        outs = _inside(body, *values[:fixed], *carry, *row)
        return outs[:carried], outs[carried:]

    start, rows = values[fixed : fixed + carried], values[fixed + carried :]
    end, stacked = lax.scan(turn, start, rows, params["length"], params["reverse"])
    return [*end, *stacked]


def _while(params: Any, values: list[Any]) -> list[Any]:
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    return lax.while_loop(
        lambda carry: _inside(params["cond_jaxpr"], *values[:first], *carry)[0],
        lambda carry: _inside(params["body_jaxpr"], *values[first:second], *carry),
        values[second:],
    )


def _wide_dtype(param: Any) -> Any:
    """A parameter that is a floating dtype (preferred_element_type, dtype) as float64."""
    is_dtype = isinstance(param, np.dtype) or (isinstance(param, type) and issubclass(param, np.generic))
    return np.dtype(np.float64) if is_dtype and jnp.issubdtype(param, jnp.floating) else param


def _float64(array: Any) -> Any:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _narrow(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.floating) and aval.dtype != jnp.float64
