"""A subject's forward, backward and reference as functions of arrays alone: compiled once, and found again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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
_KEPT: dict[Hashable, Any] = {}  # by what was traced; the newest last


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


def jitted(run: Callable[..., Any], arrays: Sequence[Any], mapped: Sequence[int | None] | None = None) -> Any:
    """``run(*arrays)`` under jit, and within it under vmap over those of its arguments."""
    return program(run, arrays, mapped)(*arrays)


def program(
    run: Callable[..., Any], arrays: Sequence[Any], mapped: Sequence[int | None] | None = None
) -> Callable[..., Any]:
    """``run`` under jit, for arguments like these, and within it under vmap over those of them.

    It is traced each time, as a helper that it calls may be another now; what is compiled is found again by the trace.
    """
    fresh = lambda *given: run(*given)  # noqa: E731  (JAX remembers traces by the function's identity)
    whole = fresh if mapped is None else jax.vmap(fresh, tuple(mapped))
    closed, shape = jax.make_jaxpr(whole, return_shape=True)(*arrays)
    text = str(closed.jaxpr)
    constants = tuple((np.shape(c), str(c.dtype), np.asarray(c).tobytes()) for c in closed.consts if _has_bytes(c))
    key = text, constants
    known = len(constants) == len(closed.consts) and "callback" not in text
    compiled = _KEPT.pop(key, None) if known else None
    compiled = compiled or jax.jit(core.jaxpr_as_fun(closed))
    if known:
        _KEPT[key] = compiled
        if len(_KEPT) > KEEP:
            _KEPT.pop(next(iter(_KEPT)))
    structure = jax.tree.structure(shape)
    return lambda *given: jax.tree.unflatten(structure, compiled(*given))


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


def compiled_probe(subject: Subject, draw: Draw, vanished: frozenset[int]) -> Probe | None:
    """A probe whose two sides are compiled, which is faster; None unless they agree: compiled code blames nobody.

    Forward and backward are one program and the reference another, so that no error of the compiler is in both.
    """
    args = cast(draw.args, jnp.float64)
    names = [cotangent_name(subject, leaf) for leaf in float_leaves(args)]
    try:
        y = shape_of_y(subject, args)
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, 3]))
        packed = pack((args, dy))
        sides = [jitted(run(subject, packed.form), packed.arrays) for run in (hand, truth)]
    except Exception:  # whatever it is, the eager probe says it better
        return None
    gots, refs = ([np.asarray(side[name]) for name in names] for side in sides)
    allowed = allowed_error(refs, [0.0] * len(refs))
    excess = [ratio(np.abs(got - ref), a) for got, ref, a in zip(gots, refs, allowed, strict=True)]
    found = Probe(draw._replace(args=args), y, None, [dy], [refs], [gots], [excess])
    found = found.without(vanished & set(found.tiny()))
    return found if found.agrees and all(np.isfinite(ref).all() for ref in refs) else None
