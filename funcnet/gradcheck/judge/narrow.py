"""Comparisons in the dtypes of the arguments, for what takes no others and cannot be widened, such as a kernel: at the
arguments given, and at some that look like activations.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import tolerances
from ..engine.inspection import casts_down, own_dtypes
from ..engine.leaves import all_finite, cast, floats_of, is_float, peak, with_default_integers
from ..engine.rewriting import widened
from ..engine.width import as_users_have_it
from ..report import Finding
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from ..trial.variants import ACTIVATIONS, activations
from ..watch import at
from . import kinks, reference
from .form import Malformed, run_backward
from .ladder import Sight, unit_of
from .probe import Probe

Primal = Callable[..., Any]


def narrow_probe(subject: Subject, draw: Draw, ordinary: Probe | None = None, exact: Primal | None = None) -> Sight:
    """Compares value and backward with the reference in float64. Raises Malformed, and NoReference if there is none.

    Each leaf may be off by AUTODIFF times the error of the reference in the same dtypes, by rounding, and by what the
    rounding of the inputs explains. Beside an ``ordinary`` probe, at other arguments, rounding is that of the larger
    gradient of the two, as parts that cancel leave theirs; and inputs are rounded as in the reference's own arithmetic.
    ``exact``: the reference in float64, if it is known.
    """
    with as_users_have_it(draw.args):
        args = with_default_integers(draw.args)
        y, residuals = subject.fwd(*args)
        rng = np.random.default_rng([draw.seed, tolerances.SEED_DY])
        dys = [draw_cotangent(y, rng) for _ in range(2 if ordinary is None else 1)]
        gots = [[d.astype(np.float64) for d in run_backward(subject, args, residuals, dy)] for dy in dys]
        plain = reference.pull(subject.primal, args, dys)
        value = subject.primal(*args)
        rounding = _rounding(subject.primal, args, ordinary)
    high, dys64 = cast(args, np.float64), cast(dys, np.float64)
    primal, refs = _in_float64([exact] if exact else _forms(subject.primal, args, high), high, dys64)
    if not all_finite([refs, plain, value]):
        raise reference.NoReference("the reference is not finite at these arguments")
    moved = reference.movement(primal, high, dys64, refs)
    value_off = 0.0
    if subject.primal_is != "a surrogate":
        value_off = _value_off(y, value, primal, high, rounding, ordinary)
    usual = [0.0 if ordinary is None else peak([row[i] for row in ordinary.refs]) for i in range(len(refs[0]))]
    excess, blurred = [], [0.0] * len(usual)
    for got, ref, own, move in zip(gots, refs, plain, moved, strict=True):
        row = []
        for i in range(len(ref)):
            scale = max(peak(ref[i]), tolerances.TINY)
            allowed = (
                tolerances.AUTODIFF * peak(own[i].astype(np.float64) - ref[i])
                + tolerances.UNITS * rounding.result * max(scale, usual[i])
                + tolerances.CONDITIONING * rounding.inputs / tolerances.EPS * _room(move[i])
            )
            row.append(_apart(got[i], ref[i]) / allowed)
            blurred[i] = max(blurred[i], allowed / scale)
        excess.append(row)
    here = draw._replace(args=args)
    p = Probe(here, subject.leaves(args), y, residuals, dys, refs, gots, excess, unit=unit_of(args))
    return Sight(_excused(subject._replace(primal=primal), p, high, dys64), blurred, value_off)


def _room(movement: np.ndarray) -> float:
    """The largest movement; inputs that move out of a domain leave no room, not any."""
    return peak(np.where(np.isnan(movement), 0, movement))


def _forms(primal: Primal, args: tuple[Any, ...], high: tuple[Any, ...]) -> list[Primal]:
    """A reference as it may run in float64, the best first: it may cast to less, and may take nothing else."""
    return [*([widened(primal, high)] if casts_down(primal, *high) else []), primal, widened(primal, args)]


def _in_float64(forms: list[Primal], high: tuple[Any, ...], dys: list[Any]) -> tuple[Primal, list[list[np.ndarray]]]:
    """The first form that runs in float64, and its gradients. Raises NoReference if none does."""
    for form in forms[:-1]:
        with contextlib.suppress(Exception):
            return form, reference.pull(form, high, dys)
    return forms[-1], reference.pull(forms[-1], high, dys)


def _excused(subject: Subject, p: Probe, high: tuple[Any, ...], dys: list[Any]) -> Probe:
    """``p`` without errors at kinks: in a narrow dtype values tie that were apart, and there is more than one slope."""
    if p.agrees or not all_finite(p.gots):
        return p
    excess, room = [], tolerances.AT_A_TIE * p.unit
    for dy, row, gots, refs in zip(dys, p.excess, p.gots, p.refs, strict=True):
        hull = kinks.around(subject, high, dy, gots, here=refs)
        if hull is None:
            return p
        left = [
            np.where(hull.excuses(i, got, room), ref, got) for i, (got, ref) in enumerate(zip(gots, refs, strict=True))
        ]
        shares = [
            peak(a - ref) / max(peak(got - ref), tolerances.TINY) for a, got, ref in zip(left, gots, refs, strict=True)
        ]
        excess.append([units * share for units, share in zip(row, shares, strict=True)])
    return p._replace(excess=excess)


class Rounding(NamedTuple):
    """The unit by which results are rounded, and that of the inputs, which is that of all that follows from them."""

    result: float
    inputs: float


def _rounding(primal: Primal, args: tuple[Any, ...], ordinary: Probe | None) -> Rounding:
    """Away from ``ordinary`` arguments, the inputs are rounded in the widest dtype that the reference computes in of
    itself, as in float32 if it casts bfloat16; and what has grown with them rounds by as much more."""
    unit = unit_of(args)
    if ordinary is None:
        return Rounding(unit, unit)
    own = min([unit, *(float(jnp.finfo(dtype).eps) for dtype in own_dtypes(primal, *args))])
    pairs = zip(floats_of(args), floats_of(ordinary.draw.args), strict=True)
    growth = max([peak(now) / max(peak(was), tolerances.TINY) for now, was in pairs])
    return Rounding(max(unit, own * growth), own)


def off(got: np.ndarray, ref: np.ndarray) -> float:
    """The largest difference, as a share of the largest entry."""
    return _apart(got, ref) / max(peak(ref), tolerances.TINY)


def _apart(got: np.ndarray, ref: np.ndarray) -> float:
    """The largest difference; infinite if ``got`` is not finite."""
    return peak(got - ref) if np.isfinite(got).all() else np.inf


def _value_off(
    y: Any, plain: Any, primal: Primal, high: tuple[Any, ...], rounding: Rounding, ordinary: Probe | None
) -> float:
    """By how much of its largest entry y is off, if it is not as near to the reference in float64 as its cotangents
    must be. Raises Malformed if it has another form."""
    if str(jax.tree.structure(y)) != str(jax.tree.structure(plain)):
        raise Malformed([Finding("", "y", "primal-mismatch", "has not the structure of the reference's value")])
    signs = np.random.default_rng(tolerances.SEED_NUDGE)

    def nudged(leaf: Any) -> Any:
        return leaf * (1 + rounding.inputs * signs.choice([-1, 1], size=leaf.shape)) if is_float(leaf) else leaf

    sides = (y, plain, primal(*high), primal(*jax.tree.map(nudged, high)), ordinary.y if ordinary else plain)
    worst = 0.0
    for got, own, ref, moved, usual in zip(*map(floats_of, cast(sides, np.float64)), strict=True):
        if got.shape != ref.shape:
            raise Malformed([Finding("", "y", "primal-mismatch", "has not the shape of the reference's value")])
        scale = max(peak(ref), peak(usual) if ordinary else tolerances.TINY)
        allowed = (
            tolerances.AUTODIFF * peak(own - ref)
            + tolerances.UNITS * rounding.result * scale
            + tolerances.CONDITIONING * _room(moved - ref)
        )
        apart = _apart(got, ref)
        seen = ordinary is None or apart == np.inf or allowed <= tolerances.BLURRED_NARROW * peak(ref)
        if apart > allowed and seen:
            worst = max(worst, apart / scale)
    return worst


# ---------------------------------------------------------------- like activations


def at_activations(
    subject: Subject, draw: Draw, ordinary: Probe, exact: Primal | None = None
) -> Iterator[tuple[str, str, Sight]]:
    """The comparison with one leaf like activations: the kind, the leaf's name, and what is seen. Raises Malformed.

    It is for what is right at an ``ordinary`` probe. A leaf agrees if its reference sees too little for a verdict, and
    the backward is finite. Left out is where the forward does not run, or the reference is not finite in the dtype, or
    sees nothing at all.
    """
    for kind in ACTIVATIONS:
        for i, args in activations(draw, kind, tolerances.SEED_VARIANT):
            at()
            try:
                seen = narrow_probe(subject, draw._replace(args=args), ordinary, exact)
            except Malformed:
                raise
            except Exception:  # outside its domain
                continue
            p, dark = seen.probe, [not share <= tolerances.BLURRED_NARROW for share in seen.blurred]
            excess = [[0.0 if d and e < np.inf else e for d, e in zip(dark, row, strict=True)] for row in p.excess]
            seen = seen._replace(probe=p._replace(excess=excess))
            if not all(dark) or not seen.probe.agrees or seen.value_off:
                yield kind, p.leaves[i].name, seen
