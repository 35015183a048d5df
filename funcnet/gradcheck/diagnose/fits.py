"""Factors that explain an error: the size of an axis on a whole leaf; or any, on one path of the forward or on two."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..engine.leaves import is_float, peak
from ..judge.probe import Probe
from ..report import Finding
from ..tolerances import CLIP, EPS, EQUAL, FACTOR, FIT, FIT_ROUNDING, LITERAL, NOTHING, PAIRS, SECANTS, TINY, TOGETHER
from ..trial.subject import Held, Subject
from .graph import Edge
from .numbers import FACTORS, TEXTS
from .paths import Paths

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


def leaf_factor(subject: Subject, probes: Sequence[Probe], i: int) -> Finding | None:
    """The finding if the whole of leaf ``i`` has one factor: a scalar argument, or the same number everywhere."""
    probes = [p for p in probes if any(row[i].any() for row in p.refs)]
    factors = _whole_leaf_factors(probes, i)
    if not factors:
        return None
    leaf, c = probes[0].leaves[i], factors[0]
    scalars = [_scalars(subject, p.draw.args) for p in probes]
    for name, power in itertools.product(scalars[0], (1, -1)):
        if all(s[name] and abs(c / s[name] ** power - 1) < EQUAL for c, s in zip(factors, scalars, strict=True)):
            factor = name if power == 1 else f"1/{name}"
            return Finding(*leaf, "wrong-scale", f"is {factor} times the right gradient", c)
    if np.ptp(factors) > EQUAL * abs(c):
        return None
    mistake = next((mistake for simple, mistake in FACTORS.items() if abs(c - simple) < FACTOR), "wrong-scale")
    return Finding(*leaf, mistake, TEXTS.get(mistake, f"is {c:.10g} times the right gradient"), c)


def _scalars(subject: Subject, args: tuple[Any, ...]) -> dict[str, float]:
    """The arguments that are one number, by name, also those that are not differentiated."""
    args = tuple(arg.value if isinstance(arg, Held) else arg for arg in args)
    return {
        f"{subject.arguments[path[0].idx]}{jax.tree_util.keystr(path[1:])}": float(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(args)
        if isinstance(leaf, (int, float)) or (is_float(leaf) and leaf.ndim == 0)
    }


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


# ---------------------------------------------------------------- paths


class Fit(NamedTuple):
    """A factor c on one edge, or on the edges ``together``. ``turn``: c is 0 on all turns of a loop but this one."""

    edge: int
    c: float
    together: tuple[int, ...] = ()
    turn: str | None = None


class Pair(NamedTuple):
    """The factors c and d on the series of the numbers i and j."""

    i: int
    j: int
    c: float
    d: float


class Fits:
    """Paths fitted to the error on ``leaves``."""

    def __init__(self, paths: Paths, leaves: Sequence[int]):
        self.paths, self.edges = paths, paths.edges
        self.entries = np.isin(paths.leaf, leaves)
        self.parts, self.error = paths.parts[:, self.entries], paths.error[self.entries]
        self.ref, self.got = paths.ref[self.entries], paths.got[self.entries]
        self.size = float(np.linalg.norm(self.error))
        self.tolerance = FIT + FIT_ROUNDING * EPS * float(np.linalg.norm(self.ref) / max(self.size, TINY))
        sizes = set(products(paths.probes[0].draw.sizes).values())
        self.axis_factors = [s**power for s in sorted(sizes) for power in POWERS]

    @property
    def has_error(self) -> bool:
        """Whether these leaves are wrong on these probes, and not at another size only."""
        return peak(self.error) > FIT * peak(self.ref)

    def _solved(self, tried: Sequence[dict[int, float]], room: float = 1) -> int | None:
        """The first of the factors by edge whose VJP is what the backward gave."""
        close = np.linalg.norm(self._errors(tried), axis=1) < room * self.tolerance * self.size
        return int(np.argmax(close)) if close.any() else None

    def _errors(self, tried: Sequence[dict[int, float]]) -> np.ndarray:
        """For each of the factors by edge, the VJP less what the backward gave."""
        return self.paths.with_factors(tried)[:, self.entries] - self.got

    # ------------------------------------------------------------ the simplest explanation

    def _complexity(self, c: float, series: Sequence[int]) -> int:
        """0 is the simplest factor, then −1, 2, a constant that stands in the line, a power of a size, any other."""
        simple = simple_rank(c)
        if simple < 3:
            return simple
        if any(_has_factor(self.edges[e], c) for e in series):
            return 3
        return 4 if any(abs(c / k - 1) < FACTOR for k in self.axis_factors) else 5

    def _harmless(self, series: Sequence[int]) -> list[int]:
        """The edges through which no right leaf flows, as a factor would spoil it; all of them if there are none."""
        right = self.paths.parts[list(series)][:, ~self.entries & (np.abs(self.paths.error) == 0)]
        reach = np.abs(right).max(axis=1, initial=0)
        return [e for e, part in zip(series, reach, strict=True) if part == 0] or list(series)

    def _placed(self, c: float, series: Sequence[int], spoiling: Sequence[int] = ()) -> Fit:
        """Which edge of a series: a factor belongs to the product, quotient or power with that constant, a sign to a
        minus, anything else to the first in program order.

        ``spoiling``: edges that fit as well but would spoil a right leaf. One of them is the line only if it holds the
        very constant: its author wrote one line for both.
        """
        first, simple = series[0], simple_rank(c)
        if simple == 1:
            first = next((e for e in series if _is_minus(self.edges[e])), first)
        elif simple == 2:
            first = next((e for e in series if _has_factor(self.edges[e], c)), first)
        elif simple > 2:
            exact = [e for e in (*series, *spoiling) if _has_factor(self.edges[e], c)]
            multiple = [e for e in series if _has_multiple(self.edges[e], c)]
            constant = [e for e in series if self.edges[e].literal is not None]
            first = next(iter([*exact, *multiple, *constant]), first)
        return Fit(first, c)

    # ------------------------------------------------------------ one edge

    def single(self) -> list[Fit]:
        """The edge, or the edges of one position, that alone explain the error, with the simplest factor."""
        norms = (self.parts**2).sum(axis=1)
        carries = norms > (NOTHING * np.linalg.norm(self.ref)) ** 2
        a = np.where(carries, self.parts @ self.error / np.where(carries, norms, 1), 0)
        residual = np.linalg.norm(self.error - a[:, None] * self.parts, axis=1) / self.size
        fitting = [(int(e), float(1 + a[e])) for e in np.flatnonzero(carries & (residual < self.tolerance))]
        whole = [(e, c) for e, c in fitting if not self.edges[e].only]
        if whole:
            choices = []
            for _, c in whole:
                same = [e for e, other in whole if abs(other - c) < LITERAL * max(1, abs(c))]
                series = self._harmless(same)
                choices.append((self._complexity(c, series), series[0], self._placed(c, series, same)))
            return [min(choices)[2]]
        if shared := self._shared():
            return [shared]
        once = [e for e, c in fitting if abs(c) < FACTOR]
        return [Fit(e, 0.0, (e,), self.edges[e].only) for e in once[:1]]

    def _shared(self) -> Fit | None:
        """One factor for the edges of a position, in which the VJP is not affine."""
        groups = [g for g in self.paths.graph.shared if not self.edges[g[0]].only and np.abs(self.parts[g[0]]).any()]
        if not groups:
            return None
        tried = [(group, c) for c in (0.0, -1.0, 2.0, 0.5, *self.axis_factors) for group in groups]
        solved = self._solved([dict.fromkeys(group, c) for group, c in tried])
        if solved is None:
            return self._sought(groups)
        group, c = tried[solved]
        return Fit(group[0], c, group)

    def _sought(self, groups: list[tuple[int, ...]]) -> Fit | None:
        """Any other factor, as 0.9 on what a loop carries: by the secant method from 1 and ½, for all groups at once.

        No table has such a factor, and the error is no multiple of the part: the VJP is a polynomial in the factor.
        """
        before, now, errors = np.ones(len(groups)), np.full(len(groups), 0.5), -self.error
        for _ in range(SECANTS):
            tried = [dict.fromkeys(group, float(c)) for group, c in zip(groups, now, strict=True)]
            previous, errors = errors, self._errors(tried)
            best = int(np.argmin(np.linalg.norm(errors, axis=1)))
            if np.linalg.norm(errors[best]) < self.tolerance * self.size:
                return Fit(groups[best][0], float(now[best]), groups[best])
            secant = errors - previous
            share = (secant * errors).sum(axis=1) / np.maximum((secant**2).sum(axis=1), TINY)
            before, now = now, np.clip(now - np.nan_to_num((now - before) * share), -CLIP, CLIP)
        return None

    # ------------------------------------------------------------ two edges

    def double(self) -> list[Fit]:
        """Two edges that explain the error together, each with a simple factor; edges in series count as one."""
        series = self._series()
        firsts = [s[0] for s in series]
        norms = np.linalg.norm(self.parts[firsts], axis=1)
        basis = self.parts[firsts] / norms[:, None]
        i, j = np.triu_indices(len(firsts), 1)
        # each pair's two-by-two normal equations, all at once; unit vectors, so their Gram matrix is [[1, g], [g, 1]]
        gram, height = (basis @ basis.T)[i, j], basis @ self.error
        det = 1 - gram**2
        safe = np.where(det > NOTHING, det, 1)
        a, b = (height[i] - gram * height[j]) / safe, (height[j] - gram * height[i]) / safe
        total = self.size**2
        promising = np.flatnonzero((det > NOTHING) & (total - a * height[i] - b * height[j] < FIT * total))
        pairs: list[Pair] = []
        for k in promising:
            left = self.error - a[k] * basis[i[k]] - b[k] * basis[j[k]]
            if np.linalg.norm(left) <= self.tolerance * self.size:
                pairs += _as_factors(int(i[k]), int(j[k]), a[k] / norms[i[k]], b[k] / norms[j[k]])
        return self._simplest(pairs, series)

    def _series(self) -> list[list[int]]:
        """Edges that carry the same part, together."""
        norms = np.linalg.norm(self.parts, axis=1)
        found: list[list[int]] = []
        for e in np.flatnonzero(norms > NOTHING * np.linalg.norm(self.ref)).tolist():
            if self.edges[e].only:
                continue
            carrying = (s for s in found if np.linalg.norm(self.parts[s[0]] - self.parts[e]) <= EQUAL * norms[e])
            same = next(carrying, None)
            if same is None:
                found.append([e])
            else:
                same.append(e)
        return found

    def _simplest(self, pairs: list[Pair], series: list[list[int]]) -> list[Fit]:
        """The simplest of the pairs that give exactly the VJP."""

        def rank(pair: Pair) -> tuple[int, int, int]:
            return self._complexity(pair.c, series[pair.i]) + self._complexity(pair.d, series[pair.j]), pair.i, pair.j

        ranked = sorted(pairs, key=rank)[:PAIRS]
        solved = self._solved([{series[p.i][0]: p.c, series[p.j][0]: p.d} for p in ranked], 4) if ranked else None
        if solved is None:
            return []
        i, j, c, d = ranked[solved]
        return [self._placed(c, series[i]), self._placed(d, series[j])]


def _as_factors(i: int, j: int, a: float, b: float) -> list[Pair]:
    """The factors c and d that the error a·C_i + b·C_j may come from.

    If no path goes through both they are 1 + a and 1 + b. If all that goes through i goes on through j, the factor of i
    is c·d, so that d = 1 + b and (c − 1)·d = a.
    """
    found = [Pair(i, j, 1 + a, 1 + b)]
    if abs(1 + b) > EQUAL:
        found.append(Pair(i, j, 1 + a / (1 + b), 1 + b))
    if abs(1 + a) > EQUAL:
        found.append(Pair(i, j, 1 + a, 1 + b / (1 + a)))
    return found


def simple_rank(c: float) -> int:
    """0, 1 and 2 for the factors 0, −1 and 2; 3 for any other."""
    return next((rank for rank, simple in enumerate((0, -1, 2)) if abs(c - simple) < FACTOR), 3)


def _has_factor(edge: Edge, c: float) -> bool:
    """Whether the constant of an edge is c or 1/c."""
    literal = edge.literal
    if literal is None or (edge.primitive == "integer_pow" and simple_rank(c) < 3):
        return False
    return any(abs(literal - factor) < LITERAL * abs(factor) for factor in (c, 1 / c))


def _has_multiple(edge: Edge, c: float) -> bool:
    """Whether c divides the constant of an edge: of a mean over N·K, K may be forgotten."""
    if edge.literal is None or not np.isfinite(edge.literal) or edge.primitive == "integer_pow":
        return False
    ratio = abs(edge.literal) / max(c, 1 / c) if c > 0 else 0.5
    return ratio > 1 and abs(ratio - round(ratio)) < EQUAL


def _is_minus(edge: Edge) -> bool:
    return edge.primitive == "neg" or (edge.literal is not None and edge.literal < 0)
