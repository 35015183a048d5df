"""A subject's forward, backward and reference as functions of arrays alone, to be compiled."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import HASTE, begun
from ..engine.leaves import Leaf, cast, float_leaves, is_float
from ..engine.packing import pack, unpack
from ..trial.specs import Draw
from ..trial.subject import Subject
from .probe import Probe, allowed_error, checked_backward, ratio
from .reference import draw_cotangent, of_floats, vjp


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
