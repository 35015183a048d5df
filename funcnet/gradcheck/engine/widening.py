"""Runs a function that computes in float32 whatever it is given with every float widened to float64.

So the mathematics can be judged, which its arithmetic would hide.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util  # there is no public way to say which line an equation comes from

from .jaxprs import LOOPS, Hooks, Step, evaluate, flattened
from .leaves import pack, unpack


def widened(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` with every float that it computes with in float64."""

    def run(*args: Any) -> Any:
        packed, form = pack(args), []

        def arrays_only(*arrays: Any) -> tuple[Any, ...]:
            result = pack(f(*unpack(packed.form, arrays)))
            form.append(result.form)
            return result.arrays

        program = flattened(jax.make_jaxpr(arrays_only)(*packed.arrays), None, LOOPS)
        return unpack(form[-1], tuple(evaluate(program, [_float64(a) for a in packed.arrays], IN_FLOAT64)))

    return run


def _wide_step(step: Step, values: list[Any], perform: Callable[[list[Any]], list[Any]]) -> list[Any]:
    names = source_info_util.current_name_stack()
    with source_info_util.user_context(step.traceback, name_stack=names):  # its line remains its line
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


def _wide_dtype(param: Any) -> Any:
    """A parameter that is a floating dtype (preferred_element_type, dtype) as float64."""
    is_dtype = isinstance(param, np.dtype) or (isinstance(param, type) and issubclass(param, np.generic))
    return np.dtype(np.float64) if is_dtype and jnp.issubdtype(param, jnp.floating) else param


def _float64(array: Any) -> Any:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


IN_FLOAT64 = Hooks(step=_wide_step, constant=lambda value: _float64(jnp.asarray(value)))
