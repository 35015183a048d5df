"""The arithmetic of a rule whose derivation is right: how far it is from float64, and whether the compiler changes it.

In each dtype the same functions run eagerly, under ``jit`` and under ``vmap``. Nothing that is found here says that the
derivation is wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import start
from ..engine.inspection import amount, float_dtypes
from ..engine.leaves import cast, first_line, is_float
from ..engine.packing import Packed, pack
from ..report import Finding
from ..tolerances import EPS, PARITY
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import kinks, reference
from .form import Malformed
from .probe import hand, shape_of_y


class Arithmetic(NamedTuple):
    """What one dtype showed. ``ulps``: of each mode, the largest error of a cotangent against float64, in units in the
    last place of the largest entry of its leaf. ``doubts``: why there is nothing to compare."""

    malformed: list[Finding]
    imprecise: list[Finding]
    compiler: list[Finding]
    ulps: dict[str, float]
    notes: list[str]
    doubts: list[str]


class _Case(NamedTuple):
    """Arguments and a cotangent in one dtype, and forward and backward as one function of the arrays among them."""

    args: tuple[Any, ...]
    dy: Any
    packed: Packed
    run: Callable[..., dict[str, Any]]


def judge(subject: Subject, exact: Subject, draw: Draw, dtype: Any, but: Collection[str] = ()) -> Arithmetic:
    """Compares the cotangents with float64, and jit and vmap with eager, at one draw in one dtype.

    ``exact``: the subject as it is in float64, widened where it casts to less.

    Those called in ``but`` are zero by cancellation: of them there is only rounding to compare, and it is not.
    Where the forward or autodiff of it does not run in that dtype there is nothing to compare, and nobody to blame.
    """
    with _as_users_have_it(dtype):
        return _judged(subject, exact, draw, dtype, but)


def _as_users_have_it(dtype: Any) -> Any:
    """In narrow dtypes without x64: with it, an array that a rule makes without a dtype would be float64."""
    return jax.enable_x64(jnp.dtype(dtype) == jnp.float64)


def _judged(subject: Subject, exact: Subject, draw: Draw, dtype: Any, but: Collection[str]) -> Arithmetic:
    named = jnp.dtype(dtype).name
    try:
        case = _case(subject, draw, dtype)
        compiled = {"jit": _jitted(case), "vmap": _mapped(case)}
        try:
            eager = _eager(case)
        except Malformed as malformed:
            reference.pull(subject.primal, case.args, [case.dy])
            found = [dataclasses.replace(f, explanation=f"in {named}, {f.explanation}") for f in malformed.findings]
            return Arithmetic(found, [], [], {}, [], [])
        refs = _less(_reference(exact, case), but)
        imprecise: list[Finding] = []
        notes: list[str] = []
        if dtype != jnp.float64:
            imprecise, notes = _imprecise(subject, exact, case, dtype, eager, refs)
    except Exception as error:
        doubt = f"it could not be judged in {named}: jax.vjp of the forward does not run there: {_said(error)}"
        return Arithmetic([], [], [], {}, [], [doubt])
    results = {"eager": eager}
    compiler: list[Finding] = []
    for mode, run in compiled.items():
        try:
            results[mode] = run()
        except Exception as error:
            notes.append(f"could not be run under {mode} in {named}: {_said(error)}")
            continue
        compiler += _disagreements(case, _less(eager, but), results[mode], mode)
    ulps = {mode: _ulps(result, refs, dtype) for mode, result in results.items()}
    return Arithmetic([], imprecise, compiler, ulps, notes, [])


def _said(error: Exception) -> str:
    return first_line(error) or type(error).__name__


def _less(found: dict[str, Any], but: Collection[str]) -> dict[str, Any]:
    return {name: leaf for name, leaf in found.items() if name not in but}


def rows_disagree(subject: Subject, draw: Draw, dtype: Any, but: Collection[str]) -> list[Finding]:
    """Whether jit changes the result on a draw with very many rows: some faults of compilers begin there."""
    with _as_users_have_it(dtype):
        case = _case(subject, draw, dtype)
        compiled = _jitted(case)
        return _disagreements(case, _less(_eager(case), but), compiled(), "jit")


def _case(subject: Subject, draw: Draw, dtype: Any) -> _Case:
    args = jax.tree.map(_as_default, cast(draw.args, dtype))
    dy = draw_cotangent(shape_of_y(subject, args), np.random.default_rng([draw.seed, 5]))
    packed = pack((args, dy))
    return _Case(args, dy, packed, hand(subject, packed.form))


def _as_default(leaf: Any) -> Any:
    """Integers in JAX's default width, which follows x64."""
    is_integer = hasattr(leaf, "dtype") and leaf.dtype in (np.int64, np.int32)
    return jnp.asarray(np.asarray(leaf), jnp.arange(1).dtype) if is_integer else leaf


def _numpy(found: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf).astype(np.float64) for name, leaf in found.items()}


def _eager(case: _Case) -> dict[str, np.ndarray]:
    return _numpy(case.run(*case.packed.arrays))


def _jitted(case: _Case) -> Callable[[], dict[str, np.ndarray]]:
    run = start(case.run, case.packed.arrays)
    return lambda: _numpy(run())


def _mapped(case: _Case) -> Callable[[], dict[str, np.ndarray]]:
    """Under vmap, the same twice: beside itself a row must come out as alone."""
    arrays, axes = case.packed.arrays, case.packed.floats()
    twice = [np.stack([leaf, leaf]) if axis == 0 else leaf for leaf, axis in zip(arrays, axes, strict=True)]
    run = start(case.run, twice, axes)
    return lambda: {name: leaf[0] for name, leaf in _numpy(run()).items()}


def _reference(subject: Subject, case: _Case) -> dict[str, np.ndarray]:
    """The float64 reference at the same (rounded) inputs."""
    with jax.enable_x64(True):
        high, dy = _in_float64(case)
        _, (ref,) = reference.pull(subject.primal, high, [dy])
    return dict(zip((leaf.cotangent for leaf in subject.leaves(case.args)), ref, strict=True))


def _conditioning(subject: Subject, case: _Case, dtype: Any) -> list[float]:
    """How far the reference moves as the inputs move by a rounding unit of the dtype: of each leaf, four times that."""
    with jax.enable_x64(True):
        high, dy = _in_float64(case)
        _, (ref,) = reference.pull(subject.primal, high, [dy])
        (moved,) = reference.movement(subject.primal, high, [dy], [ref])
    return [4 * float(jnp.finfo(dtype).eps) / EPS * m[np.isfinite(m)].max(initial=0) for m in moved]


def _in_float64(case: _Case) -> tuple[Any, Any]:
    """Arguments and cotangent."""
    return cast(case.args, jnp.float64), cast(case.dy, jnp.float64)


def _imprecise(
    subject: Subject,
    exact: Subject,
    case: _Case,
    dtype: Any,
    eager: dict[str, np.ndarray],
    refs: dict[str, np.ndarray],
) -> tuple[list[Finding], list[str]]:
    """err(hand) ≤ 2 err(autodiff in the same dtype) + 8u·scale + conditioning, both against float64.

    Where autodiff is not finite, as the dtype cannot hold the numbers on the way, no more is asked of the hand.
    """
    unit, named = float(jnp.finfo(dtype).eps), jnp.dtype(dtype).name
    auto: list[Any] = []
    conditioning: list[float] = []
    around = None
    found, notes = [], []
    leaves = subject.leaves(case.args)
    names = [leaf.cotangent for leaf in leaves]
    for i, (leaf, name) in enumerate(zip(leaves, names, strict=True)):
        if name not in refs:
            continue
        ref, got = refs[name], eager[name]
        with np.errstate(invalid="ignore"):  # infinity against infinity
            error = got - ref
        if _peak(error) <= 8 * unit * _peak(ref):
            continue
        conditioning = conditioning or _conditioning(exact, case, dtype)
        if _peak(error) <= 8 * unit * _peak(ref) + conditioning[i]:
            continue  # whatever autodiff does
        auto = auto or reference.pull(subject.primal, case.args, [case.dy])[1][0]
        by_machine = np.asarray(auto[i], np.float64)
        held = np.isfinite(by_machine) & np.isfinite(ref)
        if not held.all():
            notes.append(f"autodiff of {name} is not finite in {named} everywhere: there nothing is compared")
        with jax.enable_x64(True):
            around = around or kinks.hull(exact, *_in_float64(case), [eager[name] for name in names])
        if around is not None:  # in a narrow dtype values tie that were apart, and there is more than one slope
            held &= ~kinks.excusable(around, i, got, 64 * unit)
        hand, machine = _peak(error[held]), _peak(by_machine[held] - ref[held])
        scale = max(_peak(ref[held]), 1e-300)
        if not hand <= 2 * machine + 8 * unit * scale + conditioning[i]:
            text = (
                f"right in float64, but in {named} off by {hand / scale:.1e} of the "
                f"largest entry, where autodiff in the same dtype is off by {machine / scale:.1e}"
            )
            mistake = "low-precision-accumulation" if math.isfinite(hand) else "not-finite"
            found.append(Finding(leaf.argument, leaf.path, mistake, text))
    return found, notes


def _peak(leaf: np.ndarray) -> float:
    return float(np.abs(leaf).max(initial=0))


def _ulps(result: dict[str, np.ndarray], refs: dict[str, np.ndarray], dtype: Any) -> float:
    unit = float(jnp.finfo(dtype).eps)
    errors = [
        _apart(result[name], ref) / np.abs(ref[np.isfinite(ref)]).max(initial=1e-300) for name, ref in refs.items()
    ]
    return float(max(errors, default=0) / unit)


def _disagreements(
    case: _Case, eager: dict[str, np.ndarray], compiled: dict[str, np.ndarray], mode: str
) -> list[Finding]:
    """Where compiled code differs from eager by more than rounding, and an eager run in float64 says that it errs."""
    dtype = jnp.result_type(*(array for array in case.packed.arrays if is_float(array)))

    def different(unit: float) -> dict[str, float]:
        return {
            name: float(np.abs(compiled[name] - leaf).max(initial=0))
            for name, leaf in eager.items()
            if not _same(compiled[name], leaf, PARITY * unit * np.abs(leaf).max(initial=0))
        }

    if not different(float(jnp.finfo(dtype).eps)):
        return []
    unit = _coarsest(case)
    if not (apart := different(unit)):
        return []
    exact, nudged = (_exactly(case, nudge) for nudge in (0.0, unit))
    found = []
    for name, difference in apart.items():
        moved, *errors = (_apart(side[name], exact[name]) for side in (nudged, eager, compiled))
        scale = np.abs(exact[name]).max(initial=0)
        if errors[1] <= 4 * errors[0] + PARITY * unit * scale + 4 * moved:
            continue
        text = (
            f"differs from eager by {difference:.3g} under {mode} in {dtype.name}; eager float64 says that {mode} is "
            f"off by {errors[1]:.2g} and eager by {errors[0]:.1g}: the compiler is at fault, not the rule"
        )
        found.append(Finding("", name, "compiler-disagrees", text))
    return found


def _coarsest(case: _Case) -> float:
    """The largest rounding unit of the dtypes that forward and backward compute in: they may choose their own."""
    return max(float(jnp.finfo(dtype).eps) for dtype in float_dtypes(case.run, case.packed.arrays))


def _same(a: np.ndarray, b: np.ndarray, allowed: float) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.all((np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinite where either is not finite, so that overflow in both is no disagreement."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    return float(np.abs(a - b).max(initial=0))


def _exactly(case: _Case, nudge: float) -> dict[str, np.ndarray]:
    """The same outputs, eagerly in float64, at inputs that are moved by ``nudge`` of themselves."""
    rng = np.random.default_rng(7)

    def moved(leaf):
        high = np.asarray(leaf, np.float64)
        return jnp.asarray(high * (1 + nudge * rng.choice([-1, 1], size=high.shape)))

    with jax.enable_x64(True):
        return _numpy(case.run(*(moved(leaf) if is_float(leaf) else leaf for leaf in case.packed.arrays)))


def too_large(subject: Subject, draw: Draw, dtype: Any, most: int = 1 << 25) -> bool:
    """Whether the draw with many rows is beyond us: all arrays of forward and backward together hold more than ``most``
    elements, or a Python loop over the rows, or over blocks of them, writes further equations, which takes minutes to
    trace; or the forward does not take so many."""

    def written(rows: int) -> int:
        return _amount(subject, _cut(draw, rows), dtype)[0]

    try:
        few = written(8)
        if any(written(rows) >= few + 8 for rows in (16, 2048)):
            return True
        y = shape_of_y(subject, cast(draw.args, dtype))  # first, as a cotangent of that size would be drawn
        if sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(y)) > most:
            return True
        return _amount(subject, draw, dtype)[1] > most
    except Exception:
        return True


def _amount(subject: Subject, draw: Draw, dtype: Any) -> tuple[int, int]:
    with _as_users_have_it(dtype):
        case = _case(subject, draw, dtype)
        return amount(case.run, case.packed.arrays)


def _cut(draw: Draw, rows: int) -> Draw:
    """The draw with fewer rows, for tracing alone: integers may be out of range."""
    many = next(iter(draw.sizes.values()))

    def cut(leaf):
        return leaf[tuple(slice(rows if size == many else size) for size in leaf.shape)]

    return draw._replace(args=jax.tree.map(cut, draw.args))
