"""A subject's forward, backward and reference as functions of arrays alone: compiled once, and found again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from .decision import Probe, allowed_error, checked_backward, ratio
from .inputs import Draw
from .packing import pack, unpack
from .reference import Leaf, draw_cotangent, float_leaves, of_floats, vjp
from .subject import Subject, cast, is_float

KEEP = 256  # compiled programs
_KEPT: dict[Hashable, Future[Any]] = {}  # by what was traced; the newest last
# For programs of the checker's own, which run once or twice. How a rule is compiled for its users is left as it is.
HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
_COMPILERS = ThreadPoolExecutor(2, "gradcheck-compiler")  # XLA compiles without Python's lock


def cotangent_name(subject: Subject, leaf: Leaf) -> str:
    """``dparams['w']``."""
    return f"d{subject.arguments[leaf.argument]}{leaf.path}"


def hand(subject: Subject, form: Hashable) -> Callable[..., dict[str, Any]]:
    """``(args, dy)``, packed, to the float leaves of y, of the residuals and of the cotangents, by name."""

    def run(*arrays) -> dict[str, Any]:
        args, dy = unpack(form, arrays)
        y, residuals = subject.fwd(*args)
        found = {
            f"{name}{jax.tree_util.keystr(path)}": leaf
            for name, tree in (("y", y), ("residuals", residuals))
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if is_float(leaf)
        }
        cotangents = checked_backward(subject, args, residuals, dy)
        return found | {
            cotangent_name(subject, leaf): d for leaf, d in zip(float_leaves(args), cotangents, strict=True)
        }

    return run


def truth(subject: Subject, form: Hashable) -> Callable[..., dict[str, Any]]:
    """``(args, dy)``, packed, to the reference of every cotangent, by name."""

    def run(*arrays) -> dict[str, Any]:
        args, dy = unpack(form, arrays)
        f, floats = of_floats(subject.primal, args)
        _, pull = vjp(f, *floats)
        return {cotangent_name(subject, leaf): d for leaf, d in zip(float_leaves(args), pull(dy), strict=True)}

    return run


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


def value(subject: Subject, form: Hashable) -> Callable[..., Any]:
    """``args``, packed, to y."""
    return lambda *arrays: subject.fwd(*unpack(form, arrays))[0]


def shape_of_y(subject: Subject, args: tuple[Any, ...]) -> Any:
    """What the forward returns, as shapes and dtypes where it can be traced."""
    packed = pack(args)
    try:
        return jax.eval_shape(value(subject, packed.form), *packed.arrays)
    except jax.errors.JAXTypeError:  # it looks at values
        return subject.fwd(*args)[0]


def compiled_probe(subject: Subject, draw: Draw) -> Callable[[frozenset[int]], Probe | None]:
    """A probe whose two sides are compiled, which is faster, to be had by a call with the leaves that vanish.

    It gives None unless the sides agree: compiled code blames nobody. Forward and backward are one program and the
    reference another, so that no error of the compiler is in both.
    """
    args = cast(draw.args, jnp.float64)
    try:
        y = shape_of_y(subject, args)
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, 3]))
    except Exception:  # whatever it is, the eager probe says it better
        return lambda vanished: None
    packed = pack((args, dy))
    sides = [begun(run(subject, packed.form), packed.arrays, options=HASTE) for run in (hand, truth)]

    def compared(vanished: frozenset[int]) -> Probe | None:
        try:
            got, ref = (side() for side in sides)
        except Exception:
            return None
        return _compared(subject, draw._replace(args=args), y, dy, got, ref, vanished)

    return compared


def _compared(
    subject: Subject, draw: Draw, y: Any, dy: Any, got: dict[str, Any], ref: dict[str, Any], vanished: frozenset[int]
) -> Probe | None:
    names = [cotangent_name(subject, leaf) for leaf in float_leaves(draw.args)]
    gots, refs = ([np.asarray(side[name]) for name in names] for side in (got, ref))
    if not all(np.isfinite(leaf).all() for leaf in (*gots, *refs)):
        return None
    allowed = allowed_error(refs, [0.0] * len(refs))
    excess = [ratio(np.abs(got - ref), a) for got, ref, a in zip(gots, refs, allowed, strict=True)]
    found = Probe(draw, y, None, [dy], [refs], [gots], [excess])
    found = found.without(vanished & set(found.tiny()))
    return found if found.agrees else None
