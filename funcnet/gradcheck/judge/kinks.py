"""Where random inputs do not go: exact zeros and ties, where a derivative has a choice and may not go beyond it; far
out; and masks that hide a whole row."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..engine.compiling import compiled
from ..engine.inspection import has_kinks, has_while
from ..engine.leaves import all_finite, cast, floats_of, is_float
from ..engine.packing import pack
from ..report import Finding
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from ..trial.variants import FAR, SMOOTH_TOO, UNBOUNDED, VARIANTS
from . import reference
from .form import Malformed, run_backward
from .probe import Probe, allowed_error, truth

STEP = 1e-10  # aside of a kink: closer than any other scale of a function, and far from rounding
TOLERANCE = 1e-4  # of the largest entry: the mathematics beside kinks is judged elsewhere, and far more strictly


class Hull(NamedTuple):
    """For each differentiable leaf, the least and the largest slope around a point, and those on either side."""

    low: list[np.ndarray]
    high: list[np.ndarray]
    above: list[np.ndarray]
    below: list[np.ndarray]
    unit: float
    """The largest of the cotangent: what is far below it is rounding."""


def hull(
    subject: Subject,
    args: tuple[Any, ...],
    dy: Any,
    gots: list[np.ndarray] | None = None,
    kinked: bool = True,
    programs: dict[Any, Any] | None = None,
) -> Hull | None:
    """What autodiff says at the point itself and a step aside in several directions; None where that is not finite.

    The first direction moves everything up: it parts zeros, and keeps ties. Of many that tie each may be taken: so
    elements of ``gots`` that lie outside are moved alone. Where nothing is ``kinked`` the point itself will do.
    ``programs``: compiled, which is faster, by one that is kept there for the next call.
    """
    slopes = _eager_slopes if programs is None else functools.partial(_compiled_slopes, programs)
    floats = [np.asarray(leaf) for leaf in floats_of(args)]

    def beside(ways: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        return [[x + sign * STEP * d for x, d in zip(floats, way, strict=True)] for way in ways for sign in (1, -1)]

    rng = np.random.default_rng(17)
    ways = [[np.ones(np.shape(x)) for x in floats], *([rng.normal(size=np.shape(x)) for x in floats] for _ in "ab")]
    found = slopes(subject, args, dy, [floats, *(beside(ways) if kinked else [])])
    unit = max((float(np.abs(d).max(initial=0)) for d in floats_of(dy)), default=0.0)
    above, below = found[1:3] if kinked else found * 2
    around = _hull_of(found, above, below, unit)
    if kinked and gots is not None and all_finite(found):
        found += _eager_slopes(subject, args, dy, beside(_alone(around, gots)))
        around = _hull_of(found, above, below, unit)
    return around if all_finite([around.low, around.high]) else None


def _eager_slopes(
    subject: Subject, args: tuple[Any, ...], dy: Any, points: list[list[np.ndarray]]
) -> list[list[np.ndarray]]:
    """At each point, which says what the floating leaves are, the reference for each of them."""
    f, _ = reference.of_floats(subject.primal, args)
    return [[np.asarray(leaf) for leaf in reference.vjp(f, *point)[1](dy)] for point in points]


def _compiled_slopes(
    programs: dict[Any, Any], subject: Subject, args: tuple[Any, ...], dy: Any, points: list[list[np.ndarray]]
) -> list[list[np.ndarray]]:
    """The same, all at once."""
    packed = pack((args, dy))
    moved = iter([*zip(*points, strict=True), *([leaf] * len(points) for leaf in floats_of(dy))])
    stacked = [np.stack(next(moved)) if is_float(array) else array for array in packed.arrays]
    key = packed.form, tuple(np.shape(array) for array in stacked)
    if key not in programs:
        programs[key] = compiled(truth(subject, packed.form), stacked, packed.floats(), hasty=True)
    found = programs[key](*stacked)
    slopes = [np.asarray(found[leaf.cotangent]) for leaf in subject.leaves(args)]
    return [list(at_point) for at_point in zip(*slopes, strict=True)]


def _hull_of(found: list[list[np.ndarray]], above: list[np.ndarray], below: list[np.ndarray], unit: float) -> Hull:
    stacked = [np.stack(leaves) for leaves in zip(*found, strict=True)]
    return Hull([s.min(axis=0) for s in stacked], [s.max(axis=0) for s in stacked], above, below, unit)


def _alone(around: Hull, gots: list[np.ndarray], most: int = 16) -> list[list[np.ndarray]]:
    """Directions that move one element, each being one that lies outside."""
    ways = []
    for i, got in enumerate(gots):
        for flat in np.flatnonzero(_outside(around, i, got))[:most]:
            way = [np.zeros(np.shape(g)) for g in gots]
            way[i].flat[flat] = 1.0
            ways.append(way)
    return ways


def excusable(around: Hull, i: int, got: np.ndarray, room: float = 0.0) -> np.ndarray:
    """Where leaf ``i`` is at a kink, and ``got`` lies between the slopes that are there, with ``room`` of the scale."""
    low, high = around.low[i], around.high[i]
    width = high - low
    aside = 1e-3 * width + room * _scale(around, i)
    return (width > 1e-7 * _scale(around, i)) & (got >= low - aside) & (got <= high + aside)


def excuse(subject: Subject, p: Probe) -> Probe:
    """``p`` without the errors at kinks, where the backward took another slope than autodiff, and one that is there."""
    excess = [list(row) for row in p.excess]
    for k, dy in enumerate(p.dys):
        around = hull(subject, p.draw.args, dy, p.gots[k])
        if around is None:
            return p
        allowed = allowed_error(p.refs[k])
        for i, (got, ref) in enumerate(zip(p.gots[k], p.refs[k], strict=True)):
            wrong = np.abs(got - ref) > allowed[i]
            if excusable(around, i, got)[wrong].all():
                excess[k][i] = 0.0
    return p._replace(excess=excess)


def smooth_directions(subject: Subject, args: tuple[Any, ...], dy: Any) -> list[np.ndarray] | None:
    """For each leaf, 1 where its slope is the same all around, 0 at kinks; None where there are no kinks."""
    around = hull(subject, args, dy)
    if around is None:
        return None
    still = [_kinked(low, high, around, i) for i, (low, high) in enumerate(zip(around.low, around.high, strict=True))]
    return [np.where(kinked, 0.0, 1.0) for kinked in still] if any(kinked.any() for kinked in still) else None


def kink_findings(subject: Subject, draw: Draw, but: frozenset[int]) -> tuple[list[Finding], list[str]]:
    """What is wrong at exact zeros, at ties and far out, and by which convention the backward chooses at kinks.

    The leaves in ``but`` are zero by cancellation, and not looked at.
    """
    f, floats = reference.of_floats(subject.primal, draw.args)
    if has_while(f, floats):  # it may go on for ever outside its domain
        return [], []
    kinked = has_kinks(f, floats)
    notes: list[str] = []
    programs: dict[Any, Any] = {}
    for kind, make in VARIANTS.items():
        if not (kinked or kind in SMOOTH_TOO) or (kind in FAR and draw.domain not in UNBOUNDED):
            continue
        args = make(draw.args, np.random.default_rng([draw.seed, 23]))
        if args is None:
            continue
        args = cast(args, jnp.float64)
        try:
            y, residuals = subject.fwd(*args)
        except Exception:  # outside its domain
            continue
        if not all_finite(y):
            continue
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, 29]))
        try:
            gots = run_backward(subject, args, residuals, dy)
        except Malformed as malformed:
            return malformed.findings, []
        found, conventions = _seen(subject, args, dy, gots, kinked, kind, but, programs)
        if found:
            return found, []
        notes += conventions
    return [], notes


def _seen(
    subject: Subject,
    args: tuple[Any, ...],
    dy: Any,
    gots: list[np.ndarray],
    kinked: bool,
    kind: str,
    but: frozenset[int],
    programs: dict[Any, Any],
) -> tuple[list[Finding], list[str]]:
    """By compiled code first; as that blames nobody, what it finds must be found eagerly too."""
    for known in (programs, None):
        try:
            around = hull(subject, args, dy, gots, kinked, known)
        except Exception:  # it cannot be compiled
            if known is None:
                raise
            continue
        found, notes = _judged(subject, args, around, gots, kind, but) if around else ([], [])
        if not found:
            break
    if found and around and kind in FAR and all_finite(gots) and not _confirmed(subject, args, dy, around, gots):
        return [], []
    return found, notes


def _confirmed(subject: Subject, args: tuple[Any, ...], dy: Any, around: Hull, gots: list[np.ndarray]) -> bool:
    """Whether differences side with autodiff, which far out may be the one that is off: p log p, where p underflows."""
    audits = reference.audit(subject.primal, args, dy, around.low)
    by_hand = reference.audit(subject.primal, args, dy, gots)
    return any(
        a.uncertainty < 0.1 * abs(h.autodiff - a.autodiff)
        and abs(a.difference - a.autodiff) < abs(h.difference - h.autodiff)
        for a, h in zip(audits, by_hand, strict=True)
    )


def _judged(
    subject: Subject, args: tuple[Any, ...], around: Hull, gots: list[np.ndarray], kind: str, but: frozenset[int]
) -> tuple[list[Finding], list[str]]:
    found, notes = [], []
    for i, (leaf, got) in enumerate(zip(subject.leaves(args), gots, strict=True)):
        if i in but:
            continue
        if text := _fault(around, i, got, kind):
            mistake = "wrong-mask" if np.isfinite(got).all() else "not-finite"
            found.append(Finding(leaf.argument, leaf.path, mistake, text))
        elif convention := _convention(around, i, got, kind):
            notes.append(f"at {kind} {leaf.cotangent} {convention}")
    if kind == "ties between arguments" and not found and (text := _joint_fault(around, gots)):
        found.append(Finding("", "", "wrong-mask", text))
    return found, notes


# ---------------------------------------------------------------- the judgement


def _scale(around: Hull, i: int) -> float:
    return float(max(np.abs(around.low[i]).max(initial=0), np.abs(around.high[i]).max(initial=0), 1e-300))


def _outside(around: Hull, i: int, got: np.ndarray) -> np.ndarray:
    room = TOLERANCE * _scale(around, i) + 1e-9 * around.unit
    return ~((got >= around.low[i] - room) & (got <= around.high[i] + room))  # NaN is outside


def _fault(around: Hull, i: int, got: np.ndarray, kind: str) -> str | None:
    outside = _outside(around, i, got)
    if outside.any():
        at = tuple(int(n) for n in np.unravel_index(np.argmax(outside), outside.shape))
        low, high = float(around.low[i][at]), float(around.high[i][at])
        return f"at {kind}: got {float(got[at]):.6g} at {at}, where the slopes around lie in [{low:.6g}, {high:.6g}]"
    if kind == "ties" and not _kinked(around.above[i], around.below[i], around, i).any():
        # all tied values moved together have one slope: the sum of the shares, however it is shared
        total, due = float(got.sum()), float(around.above[i].sum())
        if abs(total - due) > TOLERANCE * max(np.abs(around.above[i]).sum(), _scale(around, i)):
            return f"at ties the shares do not add up: their sum is {total:.6g}, expected {due:.6g}"
    return None


def _joint_fault(around: Hull, gots: list[np.ndarray]) -> str | None:
    """All values moved up together have one slope, to which the shares of all arguments add up."""
    above, below = (sum(float(leaf.sum()) for leaf in side) for side in (around.above, around.below))
    size = sum(float(np.abs(leaf).sum()) for leaf in around.above)
    total = sum(float(got.sum()) for got in gots)
    if abs(above - below) <= TOLERANCE * size < abs(total - above):
        return f"at ties between arguments the shares do not add up: their sum is {total:.6g}, expected {above:.6g}"
    return None


def _kinked(one: np.ndarray, other: np.ndarray, around: Hull, i: int) -> np.ndarray:
    return np.abs(one - other) > 100 * TOLERANCE * _scale(around, i)


def _convention(around: Hull, i: int, got: np.ndarray, kind: str) -> str | None:
    zeros = kind == "exact zeros"
    low, high = (around.below[i], around.above[i]) if zeros else (around.low[i], around.high[i])
    kinked = _kinked(low, high, around, i)
    if not kinked.any():
        return None
    share = (got[kinked] - low[kinked]) / (high[kinked] - low[kinked])
    at = {value for value in (0.0, 0.5, 1.0) for s in share if abs(s - value) < 0.01}
    if not all(min(abs(s), abs(s - 0.5), abs(s - 1)) < 0.01 for s in share):
        return None
    if zeros:
        named = {
            0.0: "takes the slope from below",
            0.5: "takes the mean of both slopes",
            1.0: "takes the slope from above",
        }
        return named[at.pop()] if len(at) == 1 else None
    return {frozenset([0.5]): "is shared evenly", frozenset([0.0, 1.0]): "goes to one of the tied"}.get(frozenset(at))
