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
HASTE = {"cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}}  # by platform
_COMPILERS = ThreadPoolExecutor(2, "gradcheck-compiler")  # XLA compiles without Python's lock


def haste() -> dict[str, Any] | None:
    """XLA's options for compiling fast, on the platform that runs; None if there are none for it.

    They are for programs of the checker's own, which run once or twice. A rule is compiled as its users have it.
    """
    return HASTE.get(jax.default_backend())


def start(
    run: Callable[..., Any], arrays: Sequence[Any], mapped: Sequence[int | None] | None = None, hasty: bool = False
) -> Callable[[], Any]:
    """Starts compiling ``run(*arrays)``. Call the result to run it; that also raises what tracing raised.

    ``mapped`` and ``hasty``: see ``compiled``.
    """
    try:
        f = compiled(run, arrays, mapped, hasty)
    except Exception as error:
        reason = error
    else:
        return lambda: f(*arrays)

    def raising() -> Any:
        raise reason

    return raising


def compiled(
    run: Callable[..., Any], arrays: Sequence[Any], mapped: Sequence[int | None] | None = None, hasty: bool = False
) -> Callable[..., Any]:
    """``run`` under jit, for arguments like these, and within it under vmap along the axes ``mapped``.

    It is traced each time, as a helper that it calls may have changed; the trace then finds what was compiled before.
    It compiles in the background until it is called. ``hasty``: compiled fast, to run once or twice.
    """
    fresh = lambda *given: run(*given)  # noqa: E731  (JAX remembers traces by the function's identity)
    whole = fresh if mapped is None else jax.vmap(fresh, tuple(mapped))
    closed, shape = jax.make_jaxpr(whole, return_shape=True)(*arrays)
    text = str(closed.jaxpr)
    constants = tuple((np.shape(c), str(c.dtype), np.asarray(c).tobytes()) for c in closed.consts if _has_bytes(c))
    key = text, constants, hasty
    known = len(constants) == len(closed.consts) and "callback" not in text
    future = _KEPT.pop(key, None) if known else None
    if future is None:
        future = _COMPILERS.submit(_compile, closed, haste() if hasty else None, jnp.result_type(float) == jnp.float64)
    if known:
        _KEPT[key] = future
        if len(_KEPT) > KEEP:
            _KEPT.pop(next(iter(_KEPT)))
    structure = jax.tree.structure(shape)
    return lambda *given: jax.tree.unflatten(structure, future.result()(*given))


def _compile(closed: Any, options: dict[str, Any] | None, x64: bool) -> Any:
    """In another thread, which has settings of its own. No code of a user's runs here: it has been traced."""
    with jax.enable_x64(x64):
        return jax.jit(core.jaxpr_as_fun(closed), compiler_options=options).lower(*closed.in_avals).compile()


def _has_bytes(constant: Any) -> bool:
    return hasattr(constant, "dtype") and not jax.dtypes.issubdtype(constant.dtype, jax.dtypes.extended)
