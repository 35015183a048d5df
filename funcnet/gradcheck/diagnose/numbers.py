"""Names a mistake from its numbers alone, if there is no graph of the forward to look for it in."""

import itertools

import numpy as np

from ..engine.leaves import close, peak
from ..judge.probe import Probe
from ..report import Finding
from ..tolerances import BLURRED, TINY, UNITS

FACTORS = {0.0: "path-lost", -1.0: "sign-flipped", 2.0: "counted-twice"}
TEXTS = {
    "path-lost": "is zero",
    "sign-flipped": "has the wrong sign",
    "counted-twice": "is twice the right gradient",
}


def by_numbers(p: Probe) -> list[Finding]:
    """A finding for each wrong leaf of a probe: a factor on all of it, a transpose, the cotangent of another leaf, a
    part of an axis left out, or one element of each row."""
    return [_named(p, i) for i in p.wrong]


def _named(p: Probe, i: int) -> Finding:
    leaf = p.leaves[i]
    got, ref = (np.stack([row[i] for row in side]).astype(np.float64) for side in (p.gots, p.refs))
    tolerance = max(BLURRED * 1e-2, UNITS * p.unit)

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return close(a, b, tolerance)

    factor = float(np.vdot(got, ref)) / max(float(np.vdot(ref, ref)), TINY)
    if peak(ref) and same(got, factor * ref):
        nearest = min(FACTORS, key=lambda c: abs(c - factor))
        if abs(nearest - factor) < tolerance:
            return Finding(*leaf, FACTORS[nearest], TEXTS[FACTORS[nearest]], nearest)
        return Finding(*leaf, "wrong-scale", f"is {factor:.6g} times the right gradient", factor)
    if ref.ndim == 3 and same(got.swapaxes(1, 2), ref):
        return Finding(*leaf, "transposed")
    for j, other in enumerate(p.leaves):
        if j != i and same(got, np.stack([row[j] for row in p.refs])):
            return Finding(*leaf, "swapped-cotangents", f"is the cotangent of {other.name}")
    wrong = np.asarray(~(np.abs(got - ref) <= tolerance * peak(ref)).all(axis=0))
    for axis, (nothing, empty) in itertools.product(range(wrong.ndim), (("zero", got == 0), ("NaN", np.isnan(got)))):
        if where := _left_out(empty.all(axis=0), wrong, axis):
            return Finding(*leaf, "part-left-out", f"is {nothing} {where}, and right elsewhere")
    if not np.isfinite(got).all():
        return Finding(*leaf, "not-finite")
    for axis in reversed(range(wrong.ndim)):
        if wrong.shape[axis] > 2 and wrong.sum(axis=axis).max() == 1 and wrong.any(axis=axis).mean() > 0.5:
            text = f"is wrong in one element along axis {axis}: an index or a one-hot has its term there"
            return Finding(*leaf, "path-lost", text)
    return Finding(*leaf, "unexplained", f"{int(wrong.sum())} of its {wrong.size} elements are wrong")


def _left_out(empty: np.ndarray, wrong: np.ndarray, axis: int) -> str:
    """Where an axis begins or ends with nothing, if all that is wrong lies there; else ""."""
    others = tuple(a for a in range(wrong.ndim) if a != axis)
    kept, off = np.flatnonzero(~empty.all(axis=others)), np.flatnonzero(wrong.any(axis=others))
    if len(kept) and len(off) and off[0] > kept[-1]:
        return f"from index {kept[-1] + 1} of axis {axis} on"
    if len(kept) and len(off) and off[-1] < kept[0]:
        return f"before index {kept[0]} of axis {axis}"
    return ""
