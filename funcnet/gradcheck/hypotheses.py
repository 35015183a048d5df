"""Names mistakes that are not a scale on one path: each hypothesis must hold on every probe and cotangent it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .decision import Probe
from .reference import float_leaves
from .report import Finding
from .subject import Subject


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-9) -> bool:
    """Equal to rounding, in the scale of the whole leaf."""
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= tolerance * np.abs(b).max(initial=1e-300))


def pairs(probes: Sequence[Probe], i: int) -> Iterator[tuple[Probe, int, np.ndarray, np.ndarray]]:
    """(probe, number of the cotangent, got, expected) of leaf i."""
    for p in probes:
        for k in range(len(p.dys)):
            yield p, k, p.gots[k][i], p.refs[k][i]


def whole_leaf_factor(probes: Sequence[Probe], i: int) -> list[float] | None:
    """c with got = c·expected for the whole leaf, one for each of the probes; None where there is none."""
    factors = []
    for p in probes:
        got = np.concatenate([row[i].ravel() for row in p.gots])
        ref = np.concatenate([row[i].ravel() for row in p.refs])
        c = float(got @ ref / (ref @ ref))
        if np.abs(got - c * ref).max() > 1e-9 * max(1, abs(c)) * np.abs(ref).max():
            return None
        factors.append(c)
    return factors


def axis_of(factors: Sequence[float], probes: Sequence[Probe]) -> tuple[str, int] | None:
    """The axis whose size (power 1) or its inverse (power −1) the factor is on every probe; sizes must differ."""
    for axis in probes[0].draw.sizes:
        sizes = [p.draw.sizes[axis] for p in probes]
        for power in (1, -1):
            if len(set(sizes)) > 1 and all(abs(c / s**power - 1) < 1e-9 for c, s in zip(factors, sizes, strict=True)):
                return axis, power
    return None


def axis_factor(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """The whole leaf is too large or too small by the size of an axis."""
    probes = [p for p in probes if any(row[i].any() for row in p.refs)]  # a zero has no factor
    factors = whole_leaf_factor(probes, i)
    found = factors and axis_of(factors, probes)
    if not (factors and found):
        return None
    axis, power = found
    name, path = _names(subject, probes, i)
    if power == 1:
        text = f"is {axis} times too large: the mean over {axis} was not divided by {axis}"
        return Finding(name, path, "missing-mean-divisor", text, factors[0], axis)
    text = f"is {axis} times too small: it was divided by {axis} once too often"
    return Finding(name, path, "extra-mean-divisor", text, factors[0], axis)


def _transposed(probe: Probe, k: int, got: np.ndarray, ref: np.ndarray, i: int) -> bool:
    return ref.ndim >= 2 and close(got, np.swapaxes(ref, -1, -2)) and not close(got, ref)


def _swapped(probe: Probe, k: int, got: np.ndarray, ref: np.ndarray, i: int) -> bool:
    return any(j != i and close(got, other) for j, other in enumerate(probe.refs[k]))


SIGNATURES: list[tuple[str, str, Callable[..., bool]]] = [
    ("transposed", "is the transpose of the expected cotangent", _transposed),
    ("swapped-cotangents", "is the cotangent of another argument", _swapped),
]


def explain(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """The first hypothesis that explains leaf i on every probe."""
    name, path = _names(subject, probes, i)
    telling = [p for p in probes if np.size(p.refs[0][i]) > 1] or list(probes)
    for mistake, text, holds in SIGNATURES:
        if all(holds(p, k, got, ref, i) for p, k, got, ref in pairs(telling, i)):
            return Finding(name, path, mistake, text)
    return None


def unexplained(subject: Subject, probes: Sequence[Probe], i: int) -> Finding:
    """No hypothesis fits: the worst elements speak."""
    name, path = _names(subject, probes, i)
    p = max(probes, key=lambda p: p.excess[0][i])
    got, ref = p.gots[0][i], p.refs[0][i]
    worst = np.argsort(-np.abs(got - ref).ravel(), kind="stable")[:3]
    rows = []
    for flat in worst:
        at = tuple(int(n) for n in np.unravel_index(flat, ref.shape))
        g, r = float(got[at]), float(ref[at])
        rows.append(f"at {at}: got {g:.6g}, expected {r:.6g}" + (f", ratio {g / r:.6g}" if r else ""))
    share = float((np.abs(got - ref) > 1e-9 * np.abs(ref).max(initial=0)).mean())
    return Finding(name, path, "unexplained", f"{share:.0%} of its elements are wrong", evidence=tuple(rows))


def _names(subject: Subject, probes: Sequence[Probe], i: int) -> tuple[str, str]:
    leaf = float_leaves(probes[0].draw.args)[i]
    return subject.arguments[leaf.argument], leaf.path
