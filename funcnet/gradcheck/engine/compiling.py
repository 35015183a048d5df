"""Functions compiled in the background, and found again by what they compute, whoever defines them anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

KEEP = 256  # compiled programs
_KEPT: dict[Hashable, Future[Any]] = {}  # by what was traced; the newest last
# For programs of the checker's own, which run once or twice. How a rule is compiled for its users is left as it is.
HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
_COMPILERS = ThreadPoolExecutor(2, "gradcheck-compiler")  # XLA compiles without Python's lock


def begun(
    run: Callable[..., Any],
    arrays: Sequence[Any],
    mapped: Sequence[int | None] | None = None,
    options: dict[str, Any] | None = None,
) -> Callable[[], Any]:
    """``run(*arrays)`` under jit, to be had by a call, which also raises what stands in its way.

    Until then it compiles in the background. ``mapped`` and ``options``: see ``program``.
    """
    try:
        compiled = program(run, arrays, mapped, options)
    except Exception as error:
        reason = error
    else:
        return lambda: compiled(*arrays)

    def raising() -> Any:
        raise reason

    return raising


def program(
    run: Callable[..., Any],
    arrays: Sequence[Any],
    mapped: Sequence[int | None] | None = None,
    options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """``run`` under jit, for arguments like these, and within it under vmap over those of them; ``options`` are XLA's.

    It is traced each time, as a helper that it calls may be another now; what is compiled is found again by the trace.
    It compiles in the background until it is called.
    """
    fresh = lambda *given: run(*given)  # noqa: E731  (JAX remembers traces by the function's identity)
    whole = fresh if mapped is None else jax.vmap(fresh, tuple(mapped))
    closed, shape = jax.make_jaxpr(whole, return_shape=True)(*arrays)
    text = str(closed.jaxpr)
    constants = tuple((np.shape(c), str(c.dtype), np.asarray(c).tobytes()) for c in closed.consts if _has_bytes(c))
    key = text, constants, bool(options)
    known = len(constants) == len(closed.consts) and "callback" not in text
    compiled = _KEPT.pop(key, None) if known else None
    if compiled is None:
        compiled = _COMPILERS.submit(_compile, closed, options, jnp.result_type(float) == jnp.float64)
    if known:
        _KEPT[key] = compiled
        if len(_KEPT) > KEEP:
            _KEPT.pop(next(iter(_KEPT)))
    structure = jax.tree.structure(shape)
    return lambda *given: jax.tree.unflatten(structure, compiled.result()(*given))


def _compile(closed: Any, options: dict[str, Any] | None, x64: bool) -> Any:
    """In another thread, which has settings of its own. No code of a user's runs here: it has been traced."""
    with jax.enable_x64(x64):
        return jax.jit(core.jaxpr_as_fun(closed), compiler_options=options).lower(*closed.in_avals).compile()


def _has_bytes(constant: Any) -> bool:
    return hasattr(constant, "dtype") and not jax.dtypes.issubdtype(constant.dtype, jax.dtypes.extended)
