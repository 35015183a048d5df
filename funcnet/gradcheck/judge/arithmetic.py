"""The arithmetic of a rule whose derivation is right: how far it is from float64, and whether the compiler changes it.

In each dtype the same functions run eagerly, under ``jit`` and under ``vmap``. Nothing that is found here says that the
derivation is wrong.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import tolerances
from ..engine.compiling import compiled
from ..engine.inspection import float_dtypes, primitives
from ..engine.leaves import (
    Leaf,
    Packed,
    all_finite,
    cast,
    first_line,
    floats_of,
    is_float,
    pack,
    peak,
    with_default_integers,
)
from ..engine.rewriting import bounded
from ..engine.width import as_users_have_it
from ..report import Finding
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import kinks, reference
from .form import Malformed
from .probe import hand

Outputs = dict[str, np.ndarray]  # y, residuals and cotangents by name


class Arithmetic(NamedTuple):
    """The findings in one dtype. ``ulps``: for each mode the largest error of a cotangent against float64, in units in
    the last place of the largest entry of its leaf. ``doubts``: reasons for which there is nothing to compare."""

    malformed: Sequence[Finding] = ()
    imprecise: Sequence[Finding] = ()
    compiler: Sequence[Finding] = ()
    ulps: Mapping[str, float] = MappingProxyType({})
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()


class Typed(NamedTuple):
    """Arguments and a cotangent in one dtype, and forward and backward as one function of the arrays among them."""

    dtype: Any
    args: tuple[Any, ...]
    dy: Any
    packed: Packed
    run: Callable[..., dict[str, Any]]
    leaves: list[Leaf]
    turns: int | None = None
    """The number of turns after which a ``while`` loop is cut short, and gives NaN; None if none is."""

    @property
    def unit(self) -> float:
        """The rounding unit."""
        return float(jnp.finfo(self.dtype).eps)

    @property
    def in_float64(self) -> tuple[Any, Any]:
        """Arguments and cotangent."""
        return cast(self.args, jnp.float64), cast(self.dy, jnp.float64)


def in_dtype(subject: Subject, draw: Draw, dtype: Any) -> Typed:
    """A draw in one dtype, or, if that is None, in its own, with a cotangent."""
    args = with_default_integers(draw.args if dtype is None else cast(draw.args, dtype))
    dtype = dtype or min((leaf.dtype for leaf in floats_of(args)), key=lambda own: own.itemsize)
    dy = draw_cotangent(subject.shape_of_y(args), np.random.default_rng([draw.seed, tolerances.SEED_ARITHMETIC]))
    packed = pack((args, dy))
    return Typed(jnp.dtype(dtype), args, dy, packed, hand(subject, packed.form), subject.leaves(args))


def _that_ends(typed: Typed, exact: Subject) -> Typed:
    """With loops that end: one with a tolerance for float64 may turn for ever in a narrower dtype.

    A loop may take a hundred times the turns that are enough for it in float64. Loops that take very many there are
    not cut short.
    """
    if typed.dtype == jnp.float64:
        return typed
    with contextlib.suppress(Exception):  # the run in earnest reports the error
        if "while" not in primitives(typed.run, typed.packed.arrays):
            return typed
        with jax.enable_x64(True):
            packed = pack(typed.in_float64)
            high = hand(exact, packed.form)
            runs = ((n, compiled(bounded(high, n), packed.arrays, hasty=True)) for n in tolerances.TURNS)
            if turns := next((n for n, run in runs if all_finite(run(*packed.arrays))), 0) * tolerances.MORE_TURNS:
                return typed._replace(run=bounded(typed.run, turns), turns=turns)
    return typed


# ---------------------------------------------------------------- one dtype


def judge(
    subject: Subject, exact: Subject, draw: Draw, dtype: Any, but: Collection[str] = ()
) -> Callable[[], Arithmetic]:
    """Compares the cotangents with float64, and jit and vmap with eager, at one draw in one dtype.

    It starts compiling; call the result for the judgement.
    ``exact``: the subject as it is in float64, widened if it casts to less.
    Cotangents named in ``but`` cancel to zero; only rounding error is left in them, so they are skipped.
    If the forward or its autodiff does not run in that dtype, there is nothing to compare, and nobody to blame.
    """
    named = "its own dtypes" if dtype is None else jnp.dtype(dtype).name
    width = draw.args if dtype is None else jax.ShapeDtypeStruct((), dtype)
    try:
        with as_users_have_it(width):
            typed = in_dtype(subject, draw, dtype)
            typed = _that_ends(typed, exact)
            modes = {"jit": _jitted(typed), "vmap": _mapped(typed)}
    except Exception as error:
        doubt = f"it could not be judged in {named}: the forward does not run there: {first_line(error)}"
        return lambda: Arithmetic(doubts=[doubt])

    def judged() -> Arithmetic:
        with as_users_have_it(width):
            return _judged(subject, exact, typed, named, modes, but)

    return judged


def _judged(
    subject: Subject,
    exact: Subject,
    typed: Typed,
    named: str,
    modes: Mapping[str, Callable[[], Outputs]],
    but: Collection[str],
) -> Arithmetic:
    try:
        try:
            eager = _numpy(typed.run(*typed.packed.arrays))
        except Malformed as malformed:
            reference.pull(subject.primal, typed.args, [typed.dy])
            found = [dataclasses.replace(f, explanation=f"in {named}, {f.explanation}") for f in malformed.findings]
            return Arithmetic(malformed=found)
        with jax.enable_x64(True):  # the reference at the same, rounded, inputs
            high, dy = typed.in_float64
            (exactly,) = reference.pull(exact.primal, high, [dy])
        refs = {leaf.cotangent: ref for leaf, ref in zip(typed.leaves, exactly, strict=True)}
        if typed.turns and not all_finite(eager) and all_finite(exactly):
            text = f"in {named} a loop does not end within {typed.turns:,} turns: it could not be judged there"
            return Arithmetic(doubts=[text])
        imprecise: list[Finding] = []
        notes: list[str] = []
        if typed.dtype != jnp.float64:
            imprecise, notes = _imprecise(subject, exact, typed, eager, refs, but)
    except Exception as error:
        doubt = f"it could not be judged in {named}: jax.vjp of the forward does not run there: {first_line(error)}"
        return Arithmetic(doubts=[doubt])
    results = {"eager": eager}
    compiler: list[Finding] = []
    for mode, run in modes.items():
        try:
            results[mode] = run()
        except Exception as error:
            notes.append(f"could not be run under {mode} in {named}: {first_line(error)}")
            continue
        compiler += _disagreements(typed, eager, results[mode], mode, but)
    kept = {name: ref for name, ref in refs.items() if name not in but}
    ulps = {mode: _ulps(result, kept, typed.unit) for mode, result in results.items()}
    return Arithmetic(imprecise=imprecise, compiler=compiler, ulps=ulps, notes=notes)


def rows_disagree(subject: Subject, draw: Draw, dtype: Any, but: Collection[str]) -> list[Finding]:
    """Whether jit changes the result on a draw with very many rows: some faults of compilers begin there."""
    with as_users_have_it(jax.ShapeDtypeStruct((), dtype)):
        typed = in_dtype(subject, draw, dtype)
        by_jit = _jitted(typed)  # it compiles while the eager run goes on
        return _disagreements(typed, _numpy(typed.run(*typed.packed.arrays)), by_jit(), "jit", but)


def _numpy(found: dict[str, Any]) -> Outputs:
    return {name: np.asarray(leaf).astype(np.float64) for name, leaf in found.items()}


def _jitted(typed: Typed) -> Callable[[], Outputs]:
    run = compiled(typed.run, typed.packed.arrays)
    return lambda: _numpy(run(*typed.packed.arrays))


def _mapped(typed: Typed) -> Callable[[], Outputs]:
    """Under vmap, on the same arguments twice: each must come out as it does alone."""
    arrays, axes = typed.packed.arrays, typed.packed.floats()
    twice = [np.stack([leaf, leaf]) if axis == 0 else leaf for leaf, axis in zip(arrays, axes, strict=True)]
    run = compiled(typed.run, twice, axes)
    return lambda: {name: leaf[0] for name, leaf in _numpy(run(*twice)).items()}


# ---------------------------------------------------------------- beside float64


def _imprecise(
    subject: Subject, exact: Subject, typed: Typed, eager: Outputs, refs: Outputs, but: Collection[str]
) -> tuple[list[Finding], list[str]]:
    """err(hand) ≤ 2 err(autodiff in the same dtype) + 8u·scale + conditioning, both against float64.

    If autodiff is not finite, as the dtype cannot hold the numbers on the way, no more is asked of the hand.
    """
    unit, named = typed.unit, typed.dtype.name
    autodiff: list[Any] = []
    conditioning: list[float] = []
    around = None
    found, notes = [], []
    for i, leaf in enumerate(typed.leaves):
        name = leaf.cotangent
        ref, got = refs[name], eager[name]
        with np.errstate(invalid="ignore"):  # infinity against infinity
            error = got - ref
        if name in but or peak(error) <= tolerances.UNITS * unit * peak(ref):
            continue
        conditioning = conditioning or _conditioning(exact, typed, refs)
        if peak(error) <= tolerances.UNITS * unit * peak(ref) + conditioning[i]:
            continue  # whatever autodiff does
        autodiff = autodiff or reference.pull(subject.primal, typed.args, [typed.dy])[0]
        by_machine = np.asarray(autodiff[i], np.float64)
        held = np.isfinite(by_machine) & np.isfinite(ref)
        if not held.all():
            notes.append(f"autodiff of {name} is not finite in {named} everywhere: there nothing is compared")
        with jax.enable_x64(True):
            gots, here = ([side[leaf.cotangent] for leaf in typed.leaves] for side in (eager, refs))
            around = around or kinks.around(exact, *typed.in_float64, gots, here=here)
        if around is not None:  # in a narrow dtype values tie that were apart, and there is more than one slope
            held &= ~around.excuses(i, got, tolerances.AT_A_TIE * unit)
        off, autodiff_off = peak(error[held]), peak(by_machine[held] - ref[held])
        scale = max(peak(ref[held]), tolerances.TINY)
        if not off <= tolerances.AUTODIFF * autodiff_off + tolerances.UNITS * unit * scale + conditioning[i]:
            text = (
                f"right in float64, but in {named} off by {off / scale:.1e} of the "
                f"largest entry; autodiff in the same dtype is off by {autodiff_off / scale:.1e}"
            )
            mistake = "low-precision-accumulation" if math.isfinite(off) else "not-finite"
            found.append(Finding(*leaf, mistake, text))
    return found, notes


def _conditioning(exact: Subject, typed: Typed, refs: Outputs) -> list[float]:
    """How far each leaf of the reference may move as the inputs move by a rounding unit of the dtype."""
    with jax.enable_x64(True):
        high, dy = typed.in_float64
        (moved,) = reference.movement(exact.primal, high, [dy], [[refs[leaf.cotangent] for leaf in typed.leaves]])
    return [tolerances.CONDITIONING * typed.unit / tolerances.EPS * peak(m[np.isfinite(m)]) for m in moved]


def _ulps(result: Outputs, refs: Outputs, unit: float) -> float:
    scales = {name: max(peak(ref[np.isfinite(ref)]), tolerances.TINY) for name, ref in refs.items()}
    errors = [_apart(result[name], ref) / scales[name] for name, ref in refs.items()]
    return float(max(errors, default=0) / unit)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinite unless both are finite, so that overflow in both is no disagreement."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    return peak(a - b)


# ---------------------------------------------------------------- compiled beside eager


def _disagreements(typed: Typed, eager: Outputs, other: Outputs, mode: str, but: Collection[str]) -> list[Finding]:
    """The outputs in which compiled code differs from eager by more than rounding, and is off from eager float64."""

    def apart(unit: float) -> list[str]:
        allowed = {name: tolerances.PARITY * unit * peak(leaf) for name, leaf in eager.items() if name not in but}
        with np.errstate(invalid="ignore"):
            same = {n: np.allclose(other[n], eager[n], rtol=0, atol=a, equal_nan=True) for n, a in allowed.items()}
        return [name for name in same if not same[name]]

    if not apart(typed.unit):
        return []
    # forward and backward may compute in dtypes of their own choice
    unit = max(float(jnp.finfo(dtype).eps) for dtype in float_dtypes(typed.run, typed.packed.arrays))
    if not (names := apart(unit)):
        return []
    exact, nudged = (_exactly(typed, nudge) for nudge in (0.0, unit))
    found = []
    for name in names:
        moved, error, by_compiler = (_apart(side[name], exact[name]) for side in (nudged, eager, other))
        rounding = tolerances.PARITY * unit * peak(exact[name]) + tolerances.MOVEMENT * moved
        if by_compiler <= tolerances.COMPILER * error + rounding:
            continue
        text = (
            f"differs from eager by {peak(other[name] - eager[name]):.3g} under {mode} in {typed.dtype.name}; eager "
            f"float64 says that {mode} is off by {by_compiler:.2g} and eager by {error:.1g}: the compiler is at fault, "
            f"not the rule"
        )
        found.append(Finding("", name, "compiler-disagrees", text))
    return found


def _exactly(typed: Typed, nudge: float) -> Outputs:
    """The same outputs, eagerly in float64, at inputs that are moved by ``nudge`` of themselves."""
    rng = np.random.default_rng(tolerances.SEED_NUDGE)

    def moved(leaf):
        high = np.asarray(leaf, np.float64)
        return jnp.asarray(high * (1 + nudge * rng.choice([-1, 1], size=high.shape)))

    with jax.enable_x64(True):
        return _numpy(typed.run(*(moved(leaf) if is_float(leaf) else leaf for leaf in typed.packed.arrays)))
