"""At kinks, on purpose: exact zeros and ties, where a derivative has a choice, and may not go beyond it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from . import reference
from .decision import Malformed, Probe, allowed_error, run_backward
from .inputs import Draw, finite
from .reference import draw_cotangent, float_leaves
from .report import Finding
from .subject import Subject, is_float

STEP = 1e-10  # aside of a kink: closer than any other scale of a function, and far from rounding
TOLERANCE = 1e-4  # of the largest entry: the mathematics beside kinks is judged elsewhere, and far more strictly
# Without one of these a function has no kink. Calls with a derivative of their own may hide one.
KINKED = {"max", "min", "abs", "sign", "select_n", "clamp", "reduce_max", "reduce_min", "argmax", "argmin", "sort"}
KINKED |= {"cummax", "cummin", "reduce_window_max", "select_and_gather_add", "floor", "ceil", "round", "top_k", "while"}
KINKED |= {"custom_jvp_call", "custom_vjp_call", "cond"}


class Hull(NamedTuple):
    """For each differentiable leaf, the least and the largest slope around a point, and those on either side."""

    low: list[np.ndarray]
    high: list[np.ndarray]
    above: list[np.ndarray]
    below: list[np.ndarray]


def hull(subject: Subject, args: tuple[Any, ...], dy: Any) -> Hull | None:
    """What autodiff says at the point itself and a step aside in several directions; None where that is not finite.

    The first direction moves everything up: it parts zeros, and keeps ties.
    """
    f, floats = reference.of_floats(subject.primal, args)
    rng = np.random.default_rng(17)
    directions = [
        [np.ones(np.shape(x)) for x in floats],
        *([rng.normal(size=np.shape(x)) for x in floats] for _ in "ab"),
    ]
    points = [[x + sign * STEP * d for x, d in zip(floats, way, strict=True)] for way in directions for sign in (1, -1)]
    slopes = [[np.asarray(leaf) for leaf in reference.vjp(f, *point)[1](dy)] for point in [floats, *points]]
    if not finite(slopes):
        return None
    stacked = [np.stack(leaves) for leaves in zip(*slopes, strict=True)]
    return Hull([s.min(axis=0) for s in stacked], [s.max(axis=0) for s in stacked], slopes[1], slopes[2])


def excuse(subject: Subject, p: Probe) -> Probe:
    """``p`` without the errors at kinks, where the backward took another slope than autodiff, and one that is there."""
    excess = [list(row) for row in p.excess]
    for k, dy in enumerate(p.dys):
        around = hull(subject, p.draw.args, dy)
        if around is None:
            return p
        allowed = allowed_error(p.refs[k], [0.0] * len(p.refs[k]))
        for i, (got, ref) in enumerate(zip(p.gots[k], p.refs[k], strict=True)):
            wrong = np.abs(got - ref) > allowed[i]
            kinked = _kinked(around.low[i], around.high[i], around, i)
            if kinked[wrong].all() and not _outside(around, i, got)[wrong].any():
                excess[k][i] = 0.0
    return p._replace(excess=excess)


def kink_findings(subject: Subject, draw: Draw, but: frozenset[int]) -> tuple[list[Finding], list[str]]:
    """What is wrong at exact zeros and at ties, and by which convention the backward chooses there.

    The leaves in ``but`` are zero by cancellation, and not looked at.
    """
    f, floats = reference.of_floats(subject.primal, draw.args)
    if not reference.primitives(f, floats) & KINKED:
        return [], []
    found: list[Finding] = []
    notes: list[str] = []
    for kind, make in (("exact zeros", _with_zeros), ("ties", _with_ties)):
        rng = np.random.default_rng([draw.seed, 23])
        args = jax.tree.map(lambda leaf, m=make, r=rng: m(np.asarray(leaf), r) if is_float(leaf) else leaf, draw.args)
        y, residuals = subject.fwd(*args)
        if not finite(y):
            continue
        dy = draw_cotangent(y, rng)
        try:
            gots = run_backward(subject, args, residuals, dy)
        except Malformed as malformed:
            return malformed.findings, []
        around = hull(subject, args, dy)
        if around is None:
            continue
        for i, (leaf, got) in enumerate(zip(float_leaves(args), gots, strict=True)):
            where = subject.arguments[leaf.argument], leaf.path
            if i in but:
                continue
            if text := _fault(around, i, got, kind):
                found.append(Finding(*where, "wrong-mask", text))
            elif convention := _convention(around, i, got, kind):
                notes.append(f"at {kind} d{''.join(where)} {convention}")
    return found, notes


def _with_zeros(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(leaf.shape) < 0.3, 0.0, leaf)


def _with_ties(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Neighbours along the last axis are equal, and so are the first two rows."""
    tied = leaf.copy()
    if tied.ndim and tied.shape[-1] > 1:
        tied[..., 1::2] = tied[..., : tied.shape[-1] // 2 * 2 : 2]
    if tied.ndim > 1 and len(tied) > 1:
        tied[1] = tied[0]
    return tied


def _scale(around: Hull, i: int) -> float:
    return float(max(np.abs(around.low[i]).max(initial=0), np.abs(around.high[i]).max(initial=0), 1e-300))


def _outside(around: Hull, i: int, got: np.ndarray) -> np.ndarray:
    room = TOLERANCE * _scale(around, i)
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
