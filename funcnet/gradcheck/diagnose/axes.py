"""Factors that are the size of an axis: a mean's divisor forgotten, or taken once too often."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..judge.probe import Probe
from ..report import Finding
from ..tolerances import EQUAL, TOGETHER

POWERS = (1, -1, 0.5, -0.5)  # of a size, as a factor: a missing or an extra divisor, a scale by the root


def products(sizes: Mapping[str, int]) -> dict[str, int]:
    """The size of every axis and the product over several of them, by name; axes of size 1 are left out."""
    axes = [axis for axis, size in sizes.items() if size > 1]
    chosen = [c for n in range(1, min(len(axes), TOGETHER) + 1) for c in itertools.combinations(axes, n)]
    return {"·".join(c): math.prod(sizes[axis] for axis in c) for c in chosen}


def divisor(axis: str, power: float) -> tuple[str, str]:
    """The mistake, and its explanation, if a factor is the size of ``axis`` (power 1) or its inverse (power −1)."""
    if power == 1:
        return "missing-mean-divisor", f"is {axis} times too large: it was not divided by {axis}"
    return "extra-mean-divisor", f"is {axis} times too small: it was divided by {axis} once too often"


def axis_factor(probes: Sequence[Probe], i: int) -> Finding | None:
    """The finding if the whole of leaf ``i`` is too large or too small by the size of an axis."""
    probes = [p for p in probes if any(row[i].any() for row in p.refs)]  # a zero has no factor
    factors = _whole_leaf_factors(probes, i)
    if not factors:
        return None
    for axis in products(probes[0].draw.sizes):
        sizes = [math.prod(p.draw.sizes[name] for name in axis.split("·")) for p in probes]
        for power in (1, -1):
            fits = all(abs(c / size**power - 1) < EQUAL for c, size in zip(factors, sizes, strict=True))
            if fits and len(set(sizes)) > 1:
                mistake, text = divisor(axis, power)
                return Finding(*probes[0].leaves[i], mistake, text, factors[0], axis)
    return None


def _whole_leaf_factors(probes: Sequence[Probe], i: int) -> list[float]:
    """For each probe, c with got = c·ref on the whole leaf; empty unless there is one on all probes."""
    factors = []
    for p in probes:
        got, ref = (np.concatenate([row[i].ravel() for row in side]) for side in (p.gots, p.refs))
        c = float(got @ ref / (ref @ ref))
        if np.abs(got - c * ref).max() > EQUAL * max(1, abs(c)) * np.abs(ref).max():
            return []
        factors.append(c)
    return factors
