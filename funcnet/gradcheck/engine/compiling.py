"""Compiles each trace once, and finds it again by what it computes, also if the function is defined anew."""

import functools
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ..tolerances import COMPILED
from .jaxprs import LOOPS, Traced, equations, evaluate, flattened
from .leaves import Packed, is_traced, pack, unpack

HASTE = {"cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}}  # by platform
_COMPILERS = ThreadPoolExecutor(2, "gradcheck-compiler")  # XLA compiles without Python's lock
_KEPT: dict[Hashable, Any] = {}  # by what was traced, and for what; the newest last
T = TypeVar("T")


def haste() -> dict[str, Any] | None:
    """XLA's options for compiling fast, on the platform that runs; None if there are none for it.

    They are for code of the checker's own, which runs once or twice. A rule is compiled as its users have it.
    """
    return HASTE.get(jax.default_backend())


def _kept(closed: Any, use: str, make: Callable[[], T]) -> T:
    """The result of ``make``, perhaps from an earlier call for an equal trace and the same use."""
    known = _identity(closed)
    if known is None or "callback" in known[0]:  # the text does not tell which
        return make()
    key = use, known
    found = _KEPT.pop(key) if key in _KEPT else make()
    _KEPT[key] = found
    if len(_KEPT) > COMPILED:
        _KEPT.pop(next(iter(_KEPT)))
    return found


def _identity(closed: Any) -> tuple[str, Hashable] | None:
    """The text of a trace, and its constants; None if these do not tell what it computes."""
    text = str(closed.jaxpr)
    try:
        constants = tuple((np.shape(c), np.asarray(c).dtype.str, np.asarray(c).tobytes()) for c in closed.consts)
    except TypeError:  # random keys, tracers
        return None
    return text, constants


# ---------------------------------------------------------------- whole


def compiled(
    run: Callable[..., Any], arrays: Sequence[Any], mapped: Sequence[int | None] | None = None, hasty: bool = False
) -> Callable[..., Any]:
    """``run`` under jit, for arguments like these, and within it under vmap along the axes ``mapped``.

    It compiles in the background until it is called; that also raises what tracing raised. ``hasty``: compiled fast,
    to run once or twice. It is traced each time, as a helper that it calls may have changed; the trace then finds what
    was compiled before.
    """
    fresh = lambda *given: run(*given)  # noqa: E731  (JAX remembers traces by the function's identity)
    whole = fresh if mapped is None else jax.vmap(fresh, tuple(mapped))
    x64 = jnp.result_type(float) == jnp.float64
    try:
        closed, shape = jax.make_jaxpr(whole, return_shape=True)(*arrays)
    except Exception as error:
        return functools.partial(_raise, error)

    def submit() -> Future[Any]:
        return _COMPILERS.submit(_compile, closed, haste() if hasty else None, x64)

    future = _kept(closed, "in haste" if hasty else "whole", submit)
    structure = jax.tree.structure(shape)
    return lambda *given: jax.tree.unflatten(structure, future.result()(*given))


def _raise(error: Exception, *given: Any) -> Any:
    raise error


def _compile(closed: Any, options: dict[str, Any] | None, x64: bool) -> Any:
    """In another thread, which has settings of its own. No code of a user's runs here: it has been traced."""
    with jax.enable_x64(x64):
        return jax.jit(core.jaxpr_as_fun(closed), compiler_options=options).lower(*closed.in_avals).compile()


# ---------------------------------------------------------------- step by step


def traced_once(f: Callable[..., Any], args: list[Any]) -> Callable[..., Any]:
    """``f`` as its jaxpr, still run step by step, but its loops and branches jitted: compiled once, not at every call.

    A function that cannot be traced, as it looks at values, comes back as it is.
    """
    try:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    except jax.errors.JAXTypeError:
        return f

    names = {eqn.primitive.name for eqn in equations(closed.jaxpr)}
    # JAX finds the compiled code of a loop, and of its derivative, by the identity of the function that was jitted. The
    # text of a jaxpr does not tell custom derivatives apart.
    keep = names & LOOPS.keys() and not any(name.startswith("custom_") for name in names)
    structure = jax.tree.structure(shape)
    make = lambda: flattened(closed, {}, ())  # noqa: E731
    return Traced(_kept(closed, "step by step", make) if keep else make(), closed, structure)


class _Known(NamedTuple):
    """A trace as a program, the form of its result, and what identifies it."""

    program: Any
    form: Hashable
    identity: Hashable


def with_loops_kept(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` run step by step, with its loops and branches compiled once.

    JAX would compile a loop at every call, as its body is a new function each time. ``f`` is traced at every call, as a
    helper or a state of its own may have changed, until two calls with arguments alike gave one trace. It runs as it is
    if it has no loop, is being traced or differentiated, or cannot be traced.
    """
    plain: list[Any] = []
    last: dict[Hashable, _Known] = {}
    settled: set[Hashable] = set()

    def run(*args: Any) -> Any:
        packed = pack(args)
        if plain or any(map(is_traced, packed.arrays)):
            return f(*args)
        alike = _likeness(packed)
        if alike not in settled:
            form = []

            def arrays_only(*arrays: Any) -> tuple[Any, ...]:
                result = pack(f(*unpack(packed.form, arrays)))
                form.append(result.form)
                return result.arrays

            try:
                closed = jax.make_jaxpr(arrays_only)(*packed.arrays)
            except Exception:  # it looks at values, or the run in earnest reports the error
                return f(*args)
            if not {eqn.primitive.name for eqn in equations(closed.jaxpr)} & LOOPS.keys():
                plain.append(f)
                return f(*args)
            identity = _identity(closed)
            if identity and alike in last and last[alike].identity == identity:
                settled.add(alike)
            else:
                program = _kept(closed, "step by step, as it is", lambda: flattened(closed, {}, ()))
                last[alike] = _Known(program, form[-1], identity)
        known = last[alike]
        return unpack(known.form, tuple(evaluate(known.program, packed.arrays)))

    return run


def _likeness(packed: Packed) -> Hashable:
    """Equal for arguments that are traced alike; of no other if it cannot be told."""
    types = tuple((np.shape(a), str(a.dtype), getattr(a, "weak_type", False)) for a in packed.arrays)
    alike = jnp.result_type(float), types, packed.form
    try:
        hash(alike)
    except TypeError:
        return object()
    return alike
