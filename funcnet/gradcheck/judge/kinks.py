"""Judges a backward at the inputs of trial/variants.py: at a kink any slope between those on both sides is right."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import tolerances
from ..engine.inspection import KINKED, primitives
from ..engine.leaves import all_finite, cast, close, peak
from ..report import Finding
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from ..trial.variants import FAR, SMOOTH_TOO, UNBOUNDED, VARIANTS, varied
from ..watch import at
from . import reference
from .form import Malformed, run_backward
from .probe import Probe, allowed_error

Leaves = list[np.ndarray]  # an array for each differentiable leaf


class Around(NamedTuple):
    """For each differentiable leaf, the least and the largest slope around a point, and those on either side.

    ``unit`` is the largest entry of the cotangent: what is far below it is rounding.
    """

    low: Leaves
    high: Leaves
    above: Leaves
    below: Leaves
    unit: float

    def scale(self, i: int) -> float:
        """The largest slope of leaf ``i``."""
        return max(peak([self.low[i], self.high[i]]), tolerances.TINY)

    def parted(self, i: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The elements of leaf ``i`` at which two slopes differ as at a kink."""
        return np.abs(one - other) > tolerances.PARTED * self.scale(i)

    def outside(self, i: int, got: np.ndarray) -> np.ndarray:
        """The elements of ``got`` that are not among the slopes of leaf ``i``, such as NaN."""
        room = tolerances.ROOM * self.scale(i) + tolerances.ROUNDING * self.unit
        return ~((got >= self.low[i] - room) & (got <= self.high[i] + room))

    def excuses(self, i: int, got: np.ndarray, room: float = 0.0) -> np.ndarray:
        """The elements of leaf ``i`` at a kink if ``got`` lies between the slopes, with ``room`` of the scale."""
        width = self.high[i] - self.low[i]
        margin = tolerances.MARGIN * width + room * self.scale(i)
        wide = width > tolerances.WIDTH * self.scale(i)
        return wide & (got >= self.low[i] - margin) & (got <= self.high[i] + margin)


def around(
    subject: Subject,
    args: tuple[Any, ...],
    dy: Any,
    gots: Leaves | None = None,
    kinked: bool = True,
    hasty: bool = False,
    here: Leaves | None = None,
) -> Around | None:
    """The slopes by autodiff at the point itself and a step aside in several directions; None if they are not finite.

    The first direction moves everything up, which parts zeros and keeps ties. A backward may choose any one of many
    that tie, so elements of ``gots`` that lie outside are moved alone. If nothing is ``kinked``, the point itself will
    do. ``hasty``: by compiled code if there is any. ``here``: the slopes at the point itself by an eager run; compiled
    code that agrees there is trusted at the other points.
    """
    f, floats = reference.of_floats(subject.primal, args)
    floats = [np.asarray(leaf) for leaf in floats]

    def slopes(points: list[Leaves]) -> list[Leaves]:
        pulled = reference.compiled_at(f, [dy], points) if points and (hasty or here) else None
        return [leaves for (leaves,) in pulled or reference.eagerly_at(f, [dy], points)]

    def beside(ways: list[Leaves]) -> list[Leaves]:
        steps = [(sign * tolerances.ASIDE, way) for way in ways for sign in (1, -1)]
        return [[x + step * d for x, d in zip(floats, way, strict=True)] for step, way in steps]

    rng = np.random.default_rng(tolerances.SEED_WAYS)
    ways = [[np.ones(np.shape(x)) for x in floats], *([rng.normal(size=np.shape(x)) for x in floats] for _ in "ab")]
    points = [floats, *(beside(ways) if kinked else [])]
    found = slopes(points)
    if here and not all(close(a, b, tolerances.ROUNDING) for a, b in zip(found[0], here, strict=True)):
        return around(subject, args, dy, gots, kinked)
    unit = peak(dy)
    above, below = found[1:3] if kinked else found * 2
    hull = _hull(found, above, below, unit)
    if kinked and gots is not None and all_finite(found):
        found += slopes(beside(_alone(hull, gots)))
        hull = _hull(found, above, below, unit)
    return hull if all_finite([hull.low, hull.high]) else None


def _hull(found: list[Leaves], above: Leaves, below: Leaves, unit: float) -> Around:
    stacked = [np.stack(leaves) for leaves in zip(*found, strict=True)]
    return Around([s.min(axis=0) for s in stacked], [s.max(axis=0) for s in stacked], above, below, unit)


def _alone(hull: Around, gots: Leaves) -> list[Leaves]:
    """For each element of ``gots`` that lies outside, a direction that moves it alone."""
    ways = []
    for i, got in enumerate(gots):
        for flat in np.flatnonzero(hull.outside(i, got))[: tolerances.ALONE]:
            way = [np.zeros(np.shape(g)) for g in gots]
            way[i].flat[flat] = 1.0
            ways.append(way)
    return ways


# ---------------------------------------------------------------- excuses


def excuse(subject: Subject, p: Probe) -> Probe:
    """``p`` without errors at kinks at which the backward took a slope that is there, but not the slope of autodiff."""
    used = primitives(*reference.of_floats(subject.primal, p.draw.args))
    if used and not used & KINKED:
        return p
    excess = [list(row) for row in p.excess]
    for k, dy in enumerate(p.dys):
        hull = around(subject, p.draw.args, dy, p.gots[k], here=p.refs[k])
        if hull is None:
            return p
        allowed = allowed_error(p.refs[k])
        for i, (got, ref) in enumerate(zip(p.gots[k], p.refs[k], strict=True)):
            wrong = np.abs(got - ref) > allowed[i]
            if hull.excuses(i, got)[wrong].all():
                excess[k][i] = 0.0
    return p._replace(excess=excess)


def smooth_directions(subject: Subject, args: tuple[Any, ...], dy: Any) -> Leaves | None:
    """For each leaf, 1 if its slope is the same all around, 0 at kinks; None if there are no kinks."""
    hull = around(subject, args, dy)
    if hull is None:
        return None
    kinked = [hull.parted(i, low, high) for i, (low, high) in enumerate(zip(hull.low, hull.high, strict=True))]
    return [np.where(k, 0.0, 1.0) for k in kinked] if any(k.any() for k in kinked) else None


# ---------------------------------------------------------------- the variants


def kink_findings(subject: Subject, draw: Draw, but: frozenset[int]) -> tuple[list[Finding], list[str]]:
    """Findings at exact zeros, at ties and far out; and notes on how the backward chooses at kinks.

    The leaves in ``but`` cancel to zero, and are skipped.
    """
    used = primitives(*reference.of_floats(subject.primal, draw.args))
    if "while" in used:  # it may go on for ever outside its domain
        return [], []
    kinked = bool(used & KINKED)
    notes: list[str] = []
    for kind, make in VARIANTS.items():
        at()
        if not (kinked or kind in SMOOTH_TOO) or (kind in FAR and draw.domain not in UNBOUNDED):
            continue
        if (made := varied(make, draw, np.random.default_rng([draw.seed, tolerances.SEED_VARIANT]))) is None:
            continue
        args = cast(made, jnp.float64)
        try:
            y, residuals = subject.fwd(*args)
        except Exception:  # outside its domain
            continue
        if not all_finite(y):
            continue
        dy = draw_cotangent(y, np.random.default_rng([draw.seed, tolerances.SEED_VARIANT_DY]))
        try:
            variant = Variant(kind, args, dy, run_backward(subject, args, residuals, dy))
        except Malformed as malformed:
            return malformed.findings, []
        found, conventions = _tried(subject, variant, kinked, but)
        if found:
            return found, []
        notes += conventions
    return [], notes


class Variant(NamedTuple):
    """Arguments of a kind, a cotangent, and what the backward gives for it."""

    kind: str
    args: tuple[Any, ...]
    dy: Any
    gots: Leaves


def _tried(subject: Subject, v: Variant, kinked: bool, but: frozenset[int]) -> tuple[list[Finding], list[str]]:
    """Tries compiled code first; reports a fault only if the eager run confirms it."""
    for hasty in (True, False):
        hull = around(subject, v.args, v.dy, v.gots, kinked, hasty)
        found, notes = _judged(subject, v, hull, but) if hull else ([], [])
        if not found:
            break
    if found and hull and v.kind in FAR and all_finite(v.gots) and not _confirmed(subject, v, hull):
        return [], []
    return found, notes


def _confirmed(subject: Subject, v: Variant, hull: Around) -> bool:
    """Whether differences side with autodiff, which may itself be off far out: p log p, if p underflows."""
    audits = reference.audit(subject.primal, v.args, v.dy, hull.low)
    by_hand = reference.audit(subject.primal, v.args, v.dy, v.gots)
    return any(
        a.uncertainty < tolerances.CONFIRMED * abs(h.autodiff - a.autodiff)
        and abs(a.difference - a.autodiff) < abs(h.difference - h.autodiff)
        for a, h in zip(audits, by_hand, strict=True)
    )


def _judged(subject: Subject, v: Variant, hull: Around, but: frozenset[int]) -> tuple[list[Finding], list[str]]:
    found, notes = [], []
    for i, (leaf, got) in enumerate(zip(subject.leaves(v.args), v.gots, strict=True)):
        if i in but:
            continue
        if text := _beyond(hull, i, got, v.kind):
            found.append(Finding(*leaf, "wrong-mask" if np.isfinite(got).all() else "not-finite", text))
        elif convention := _convention(hull, i, got, v.kind):
            notes.append(f"at {v.kind} {leaf.cotangent} {convention}")
    if v.kind == "ties between arguments" and not found and (text := _joint_fault(hull, v.gots)):
        found.append(Finding("", "", "wrong-mask", text))
    return found, notes


def _beyond(hull: Around, i: int, got: np.ndarray, kind: str) -> str | None:
    outside = hull.outside(i, got)
    if outside.any():
        at = tuple(int(n) for n in np.unravel_index(np.argmax(outside), outside.shape))
        low, high = float(hull.low[i][at]), float(hull.high[i][at])
        return f"at {kind}: got {float(got[at]):.6g} at {at}, where the slopes around lie in [{low:.6g}, {high:.6g}]"
    if kind == "ties" and not hull.parted(i, hull.above[i], hull.below[i]).any():
        # all tied values moved together have one slope: the sum of the shares, however it is shared
        total, due = float(got.sum()), float(hull.above[i].sum())
        if abs(total - due) > tolerances.ROOM * max(np.abs(hull.above[i]).sum(), hull.scale(i)):
            return f"at ties the shares do not add up: their sum is {total:.6g}, expected {due:.6g}"
    return None


def _joint_fault(hull: Around, gots: Leaves) -> str | None:
    """All values moved up together have one slope, to which the shares of all arguments add up."""
    above, below = (sum(float(leaf.sum()) for leaf in side) for side in (hull.above, hull.below))
    size = sum(float(np.abs(leaf).sum()) for leaf in hull.above)
    total = sum(float(got.sum()) for got in gots)
    if abs(above - below) <= tolerances.ROOM * size < abs(total - above):
        return f"at ties between arguments the shares do not add up: their sum is {total:.6g}, expected {above:.6g}"
    return None


AT_ZEROS = {0.0: "takes the slope from below", 0.5: "takes the mean of both slopes", 1.0: "takes the slope from above"}
AT_TIES = {frozenset([0.5]): "is shared evenly", frozenset([0.0, 1.0]): "goes to one of the tied"}


def _convention(hull: Around, i: int, got: np.ndarray, kind: str) -> str | None:
    zeros = kind == "exact zeros"
    low, high = (hull.below[i], hull.above[i]) if zeros else (hull.low[i], hull.high[i])
    kinked = hull.parted(i, low, high)
    share = (got[kinked] - low[kinked]) / (high[kinked] - low[kinked])
    near = np.abs(share[:, None] - np.array([0.0, 0.5, 1.0])) < tolerances.NEAR_SHARE
    if not (kinked.any() and near.any(axis=1).all()):
        return None
    at = [value for value, seen in zip((0.0, 0.5, 1.0), near.any(axis=0), strict=True) if seen]
    if zeros:
        return AT_ZEROS[at[0]] if len(at) == 1 else None
    return AT_TIES.get(frozenset(at))
