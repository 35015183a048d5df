"""A function run again from its jaxpr, changed on the way: with every float in float64, or without custom derivatives.

So the mathematics of a function that computes in float32 whatever it is given can be judged, which its arithmetic would
hide; and a function with a rule of its own can be differentiated without that rule.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util  # there is no public way to say which line an equation comes from

from .compiling import with_loops_kept
from .jaxprs import CALLS, CUSTOM, LOOPS, Hooks, Program, Step, equations, evaluate, flattened, is_library
from .leaves import is_float, pack, unpack, with_default_integers
from .width import as_users_have_it


def _rerun(f: Callable[..., Any], flatten: Callable[[Any], Program], hooks: Hooks, like: Any = None):
    """``f``, traced and run again step by step. ``like``: what to trace it for, if not the arguments given."""

    def run(*args: Any) -> Any:
        packed, form = pack(args), []

        def arrays_only(*arrays: Any) -> tuple[Any, ...]:
            result = pack(f(*unpack(packed.form, arrays)))
            form.append(result.form)
            return result.arrays

        given = list(packed.arrays)
        if like is None:
            closed = jax.make_jaxpr(arrays_only)(*given)
        else:
            with as_users_have_it(like):
                given = with_default_integers(given)
                pairs = zip(given, pack(like).arrays, strict=True)
                shapes = [jax.ShapeDtypeStruct(a.shape, own.dtype if is_float(a) else a.dtype) for a, own in pairs]
                closed = jax.make_jaxpr(arrays_only)(*shapes)
        given = [_float64(a) for a in given] if hooks is IN_FLOAT64 else given
        return unpack(form[-1], tuple(evaluate(flatten(closed), given, hooks)))

    return with_loops_kept(run)


def rerun(f: Callable[..., Any], hooks: Hooks, inline_custom: bool = False) -> Callable[..., Any]:
    """``f`` run step by step, with what the hooks change. Custom derivatives stay, and hide what they hold from the
    hooks, unless they are inlined."""
    calls = CALLS | CUSTOM if inline_custom else CALLS
    return _rerun(f, lambda closed: flattened(closed, calls, LOOPS), hooks._replace(step=_in_its_line))


def bounded(f: Callable[..., Any], turns: int) -> Callable[..., Any]:
    """``f`` of arrays in which no ``while`` loop takes more than ``turns`` turns: the floats of one that would are NaN.

    Custom derivatives are inlined. The result raises whatever tracing raises.
    """
    return _rerun(f, lambda closed: flattened(closed, None, LOOPS), Hooks(turns=turns))


def _in_its_line(step: Step, values: list[Any], perform: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """Performs a step so that its line remains its line when it is traced again."""
    names = source_info_util.current_name_stack()
    with source_info_util.user_context(step.traceback, name_stack=names):
        return perform(values)


# ---------------------------------------------------------------- in float64


def widened(f: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """``f`` with every float that it computes with in float64; it takes arguments with the dtypes of ``args``."""
    return _rerun(f, lambda closed: flattened(closed, None, LOOPS), IN_FLOAT64, args)


def _wide_step(step: Step, values: list[Any], perform: Callable[[list[Any]], list[Any]]) -> list[Any]:
    def perform_wide(values: list[Any]) -> list[Any]:
        if step.bodies:
            return perform(values)
        if step.primitive == "reduce_precision":
            return values
        if step.primitive == "convert_element_type" and jnp.issubdtype(step.params["new_dtype"], jnp.floating):
            return [_float64(values[0].astype(jnp.float64))]
        if step.primitive == "bitcast_convert_type":  # bits are as many as they are
            return [_float64(out) for out in step.bind(*values)]
        wide = {key: _wide_dtype(param) for key, param in step.params.items()}
        return [_float64(out) for out in step.bind(*values, params=wide)]

    return _in_its_line(step, values, perform_wide)


def _wide_dtype(param: Any) -> Any:
    """A parameter that is a floating dtype (preferred_element_type, dtype) as float64."""
    is_dtype = isinstance(param, np.dtype) or (isinstance(param, type) and issubclass(param, np.generic))
    return np.dtype(np.float64) if is_dtype and jnp.issubdtype(param, jnp.floating) else param


def _float64(array: Any) -> Any:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


IN_FLOAT64 = Hooks(step=_wide_step, constant=lambda value: _float64(jnp.asarray(value)))


# ---------------------------------------------------------------- without custom derivatives


def undecorated(f: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any] | None:
    """``f`` without the ``custom_vjp`` and ``custom_jvp`` rules that it calls; None if it calls none.

    JAX's own rules stay, unless there are no others: their derivatives are those that users have. Raises JAXTypeError
    if ``f`` looks at values.
    """
    packed = pack(args)
    closed = jax.make_jaxpr(lambda *arrays: pack(f(*unpack(packed.form, arrays))).arrays)(*packed.arrays)
    rules = [eqn for eqn in equations(closed.jaxpr) if eqn.primitive.name in CUSTOM]
    if not rules:
        return None
    keep = is_library if not all(map(is_library, rules)) else None
    return _rerun(f, lambda closed: flattened(closed, CALLS | CUSTOM, LOOPS, keep), Hooks(step=_in_its_line))
