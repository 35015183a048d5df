"""Names a mistake from its numbers alone, if there is no graph of the forward to look for it in."""

import numpy as np

from ..engine.leaves import close, peak
from ..judge.probe import Probe
from ..report import Finding
from ..tolerances import BLURRED, TINY

FACTORS = {0.0: "path-lost", -1.0: "sign-flipped", 2.0: "counted-twice"}
TEXTS = {
    "path-lost": "is zero",
    "sign-flipped": "has the wrong sign",
    "counted-twice": "is twice the right gradient",
}


def by_numbers(p: Probe) -> list[Finding]:
    """A finding for each wrong leaf of a probe: a factor on all of it, a transpose, the cotangent of another leaf."""
    return [_named(p, i) for i in p.wrong]


def _named(p: Probe, i: int) -> Finding:
    leaf = p.leaves[i]
    got, ref = (np.stack([row[i] for row in side]).astype(np.float64) for side in (p.gots, p.refs))

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return close(a, b, BLURRED * 1e-2)

    factor = float(np.vdot(got, ref)) / max(float(np.vdot(ref, ref)), TINY)
    if peak(ref) and same(got, factor * ref):
        nearest = min(FACTORS, key=lambda c: abs(c - factor))
        if abs(nearest - factor) < BLURRED * 1e-2:
            return Finding(*leaf, FACTORS[nearest], TEXTS[FACTORS[nearest]], nearest)
        return Finding(*leaf, "wrong-scale", f"is {factor:.6g} times the right gradient", factor)
    if ref.ndim == 3 and same(got.swapaxes(1, 2), ref):
        return Finding(*leaf, "transposed")
    for j, other in enumerate(p.leaves):
        if j != i and same(got, np.stack([row[j] for row in p.refs])):
            return Finding(*leaf, "swapped-cotangents", f"is the cotangent of {other.name}")
    wrong = int((np.abs(got - ref) > BLURRED * 1e-2 * peak(ref)).any(axis=0).sum())
    return Finding(*leaf, "unexplained", f"{wrong} of its {ref[0].size} elements are wrong")
