"""The forward as a graph on probes of one shape, beside what a backward gave there, and the fits of one to the other.

For an edge e let C_e be the part of the true VJP that flows through it, C_e = VJP − VJP(gradient through e stopped).
The VJP is affine in a scale on one edge, so a backward that lost, negated, doubled or mis-scaled one path satisfies
got − ref = (c − 1)·C_e exactly. Projecting gives c, and what remains says whether the edge explains the error at all.
In a loop, and where one position of the source is traced several times, the VJP is not affine in c: there it is
evaluated at the c that mistakes are made of.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..judge import reference
from ..judge.probe import Probe
from ..tolerances import ABSOLUTE, EPS
from ..trial.subject import Subject
from .graph import Edge, Graph
from .patterns import products

POWERS = (1, -1, 0.5, -0.5)  # of an axis's size: a mean's divisor missing or once too often, a scale by its root


class Fit(NamedTuple):
    """A factor c on one edge; ``all_at`` are the edges that share it where there are several.

    ``remains``: what is left where c is 0 on all but some uses of a value.
    """

    edge: int
    c: float
    all_at: tuple[int, ...] = ()
    remains: str = ""


class Paths:
    """The forward as a graph on probes of one shape, beside what the backward gave there.

    ``frozen``: with the gradient stopped on edges whose paths cancel (a shift by the maximum): who derives by hand
    leaves them out, and so they must not come alive when another path is lost.

    ``rule``: the number of a wrong rule that is taken as given; what is to be explained is what is wrong besides.
    """

    def __init__(self, subject: Subject, probes: Sequence[Probe], rule: int | None = None):
        self.subject, self.probes, self.rule = subject, probes, rule
        self.ref, self.got = stacked(probes, "refs"), stacked(probes, "gots")
        self.error = self.got - self.ref
        self.leaf = np.concatenate(
            [np.full(r.size, i) for p in probes for row in p.refs for i, r in enumerate(row)] or [np.zeros(0)]
        )
        self.floats = [reference.of_floats(subject.primal, p.draw.args)[1] for p in probes]
        graph = self._graph()
        self.has_graph = graph is not None and bool(graph.edges)
        if graph is not None:
            self.graph, self.edges = graph, graph.edges
            self.alive = np.ones(len(graph.edges))

    def _graph(self) -> Graph | None:
        """Custom derivatives are looked into only where the VJP stays the same by it."""
        f, _ = reference.of_floats(self.subject.primal, self.probes[0].draw.args)
        for inline in (True, False):
            graph = Graph(f, self.floats[0], file_of(self.subject), inline, self.rule)
            self.graph, self.alive = graph, np.ones(len(graph.edges))
            if not graph.edges:
                return None
            values = self.at(np.ones((1, len(graph.edges))))[0]
            if self.rule is not None:
                self.ref, self.error = values, self.got - values
            if self._same_vjp(values):
                return graph
        return None

    def _same_vjp(self, values: np.ndarray) -> bool:
        return bool(np.abs(values - self.ref).max() <= 1e-9 * max(np.abs(self.ref).max(), 1e-300))

    def at(self, rows: np.ndarray) -> np.ndarray:
        """The VJP on all probes and cotangents, for each row of scales."""
        rows = np.asarray(rows) * self.alive
        found = [self.graph.vjps(rows, p.dys, floats) for p, floats in zip(self.probes, self.floats, strict=True)]
        return np.concatenate(found, axis=1)

    @functools.cached_property
    def parts(self) -> np.ndarray:
        """C_e for every edge."""
        n = len(self.edges)
        values = self.at(np.vstack([np.ones(n), 1 - np.eye(n)]))
        return values[0] - values[1:]

    def frozen(self) -> Paths | None:
        """The same with cancelling paths stopped; None where there are none, or the VJP would change."""
        idle = np.abs(self.parts).max(axis=1) <= 1e-12 * np.abs(self.ref).max()
        other = object.__new__(Paths)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != "parts"})
        other.alive = np.where(idle, 0.0, 1.0)
        if not idle.any() or not self._same_vjp(other.at(np.ones((1, len(self.edges))))[0]):
            return None
        return None if np.array_equal(other.parts, self.parts) else other


def without_cancelled(subject: Subject, p: Probe) -> Probe:
    """``p`` with the leaves vanished that are zero by cancellation: by the size of the parts that cancel."""
    suspects = p.tiny()
    paths = Paths(subject, [p]) if suspects else None
    if paths is None or not paths.has_graph:
        return p
    sizes = {i: np.abs(paths.parts[:, paths.leaf == i]).max(initial=0) for i in suspects}
    peaks = {i: max(np.abs(d[i]).max(initial=0) for d in (*p.refs, *p.gots)) for i in suspects}
    return p.without(i for i in suspects if peaks[i] <= ABSOLUTE * sizes[i])


def stacked(probes: Sequence[Probe], side: str) -> np.ndarray:
    """``refs`` or ``gots`` of all probes, cotangents and leaves as one vector."""
    return np.concatenate([leaf.ravel() for p in probes for row in getattr(p, side) for leaf in row] or [np.zeros(0)])


def file_of(subject: Subject) -> str | None:
    """The file that the forward is written in."""
    code = getattr(subject.source, "__code__", None)
    return code.co_filename if code else None


# ---------------------------------------------------------------- the fits


class Seen:
    """Paths, seen on some leaves only."""

    def __init__(self, paths: Paths, leaves: list[int]):
        self.paths, self.edges, self.leaves = paths, paths.edges, leaves
        self.entries = np.isin(paths.leaf, leaves)
        self.parts, self.error = paths.parts[:, self.entries], paths.error[self.entries]
        self.ref, self.got = paths.ref[self.entries], paths.got[self.entries]
        self.size = float(np.linalg.norm(self.error))
        self.tolerance = 1e-10 + 256 * EPS * float(np.linalg.norm(self.ref) / max(self.size, 1e-300))
        sizes = set(products(paths.probes[0].draw.sizes).values())
        self.axis_factors = [s**power for s in sorted(sizes) for power in POWERS]

    # which explanation is the simplest

    def complexity(self, c: float, series: Sequence[int]) -> int:
        """0 is simpler than −1, that than 2, these than a constant in the line, that than an axis."""
        simple = simple_rank(c)
        if simple < 3:
            return simple
        if any(_has_factor(self.edges[e], c) for e in series):
            return 3
        return 4 if any(abs(c / k - 1) < 1e-7 for k in self.axis_factors) else 5

    def kept_apart(self, series: Sequence[int]) -> list[int]:
        """Those of a series through which no leaf that is right flows too, if there are any: it would be spoiled."""
        others = self.paths.parts[list(series)][:, ~self.entries & (np.abs(self.paths.error) == 0)]
        reach = np.abs(others).max(axis=1, initial=0)
        return [e for e, part in zip(series, reach, strict=True) if part == 0] or list(series)

    def placed(self, c: float, series: Sequence[int], spoiling: Sequence[int] = ()) -> Fit:
        """Which edge of a series: a factor belongs to the product, quotient or power with that constant, a sign to a
        minus; all else to the first in program order.

        ``spoiling``: edges that fit as well, but would spoil a leaf that is right. Such a one is the line only where
        the very constant stands: of two factors its author wrote one for both.
        """
        first, simple = series[0], simple_rank(c)
        if simple == 1:
            first = next((e for e in series if _is_minus(self.edges[e])), first)
        elif simple >= 2:
            scaling = [e for e in (*series, *(spoiling if simple > 2 else ())) if _has_factor(self.edges[e], c)]
            whole = [e for e in series if _has_multiple(self.edges[e], c) and simple > 2]
            constants = [e for e in series if self.edges[e].literal is not None and simple > 2]
            first = next(iter([*scaling, *whole, *constants]), first)
        return Fit(first, c)

    # one edge

    def single(self) -> list[Fit]:
        """The edge, or the edges of one position, that alone explain the error, with the simplest c."""
        norms = (self.parts**2).sum(axis=1)
        carries = norms > (1e-12 * np.linalg.norm(self.ref)) ** 2
        a = np.where(carries, self.parts @ self.error / np.where(carries, norms, 1), 0)
        residual = np.linalg.norm(self.error - a[:, None] * self.parts, axis=1) / self.size
        fitting = [(int(e), float(1 + a[e])) for e in np.flatnonzero(carries & (residual < self.tolerance))]
        whole = [(e, c) for e, c in fitting if not self.edges[e].only]
        if whole:
            choices = []
            for _, c in whole:
                fit = [e for e, other in whole if abs(other - c) < 1e-6 * max(1, abs(c))]
                series = self.kept_apart(fit)
                choices.append((self.complexity(c, series), series[0], self.placed(c, series, fit)))
            return [min(choices)[2]]
        if shared := self._shared():
            return [shared]
        once = [e for e, c in fitting if abs(c) < 1e-7]
        return [Fit(e, 0.0, (e,), f"the {self.edges[e].only} step") for e in once[:1]]

    def _shared(self) -> Fit | None:
        """One c for the edges of a position, in whose c the VJP is not affine."""
        groups = [g for g in self.paths.graph.shared if not self.edges[g[0]].only and np.abs(self.parts[g[0]]).any()]
        factors = [0.0, -1.0, 2.0, 0.5, *self.axis_factors]
        if not groups:
            return None
        tried = [(group, c) for c in factors for group in groups]
        rows = np.ones((len(tried), len(self.edges)))
        for row, (group, c) in zip(rows, tried, strict=True):
            row[list(group)] = c
        for (group, c), values in zip(tried, self.paths.at(rows)[:, self.entries], strict=True):
            if np.linalg.norm(values - self.got) < self.tolerance * self.size:
                return Fit(group[0], c, group)
        return self._sought(groups)

    def _sought(self, groups: list[tuple[int, ...]]) -> Fit | None:
        """Any other c, by the secant method from 1 and ½, for all positions at once."""
        before, now = np.ones(len(groups)), np.full(len(groups), 0.5)

        def at(c: np.ndarray) -> np.ndarray:
            rows = np.ones((len(groups), len(self.edges)))
            for row, group, factor in zip(rows, groups, c, strict=True):
                row[list(group)] = factor
            return self.paths.at(rows)[:, self.entries] - self.got

        errors = at(before)
        for _ in range(SECANTS):
            previous, errors = errors, at(now)
            best = int(np.argmin(np.linalg.norm(errors, axis=1)))
            if np.linalg.norm(errors[best]) < self.tolerance * self.size:
                return Fit(groups[best][0], float(now[best]), groups[best])
            moved = np.where(now == before, 1, now - before)
            slope = (errors - previous) / moved[:, None]
            step = (slope * errors).sum(axis=1) / np.maximum((slope**2).sum(axis=1), 1e-300)
            before, now = now, np.clip(now - np.nan_to_num(step), -100, 100)
        return None

    # two edges

    def double(self) -> list[Fit]:
        """Two edges that explain the error together, each with a simple c; edges in series count as one."""
        series = self._series()
        firsts = [s[0] for s in series]
        norms = np.linalg.norm(self.parts[firsts], axis=1)
        basis = self.parts[firsts] / norms[:, None]
        i, j = np.triu_indices(len(firsts), 1)
        # each pair's two-by-two normal equations, all at once; unit vectors, so their Gram matrix is [[1, g], [g, 1]]
        gram, height = (basis @ basis.T)[i, j], basis @ self.error
        det = 1 - gram**2
        safe = np.where(det > 1e-12, det, 1)
        a, b = (height[i] - gram * height[j]) / safe, (height[j] - gram * height[i]) / safe
        total = self.size**2
        promising = np.flatnonzero((det > 1e-12) & (total - a * height[i] - b * height[j] < 1e-10 * total))
        tried: list[tuple[int, int, float, float]] = []
        for k in promising:
            left = self.error - a[k] * basis[i[k]] - b[k] * basis[j[k]]
            if np.linalg.norm(left) <= self.tolerance * self.size:
                tried += _as_factors(i[k], j[k], a[k] / norms[i[k]], b[k] / norms[j[k]])
        return self._simplest(tried, series)

    def _series(self) -> list[list[int]]:
        """Edges that carry the same part, together."""
        norms = np.linalg.norm(self.parts, axis=1)
        found: list[list[int]] = []
        for e in np.flatnonzero(norms > 1e-12 * np.linalg.norm(self.ref)):
            if self.edges[e].only:
                continue
            same = [
                s for s in found if np.linalg.norm(self.parts[s[0]] - self.parts[e]) <= 1e-9 * norms[e]
            ]  # fmt: skip
            if same:
                same[0].append(int(e))
            else:
                found.append([int(e)])
        return found

    def _simplest(self, tried: list[tuple[int, int, float, float]], series: list[list[int]]) -> list[Fit]:
        """Of pairs with their factors, those that give the VJP exactly, and of these the simplest."""
        ranked = sorted(
            tried, key=lambda t: (self.complexity(t[2], series[t[0]]) + self.complexity(t[3], series[t[1]]), t[:2])
        )[:CANDIDATES]
        if not ranked:
            return []
        rows = np.ones((len(ranked), len(self.edges)))
        for row, (i, j, c, d) in zip(rows, ranked, strict=True):
            row[series[i][0]], row[series[j][0]] = c, d
        for (i, j, c, d), values in zip(ranked, self.paths.at(rows)[:, self.entries], strict=True):
            if np.linalg.norm(values - self.got) < 4 * self.tolerance * self.size:
                return [self.placed(c, series[i]), self.placed(d, series[j])]
        return []


CANDIDATES = 60  # pairs that are tried in full
SECANTS = 12  # steps towards a factor in a loop


def _as_factors(i: int, j: int, a: float, b: float) -> list[tuple[int, int, float, float]]:
    """What a·C_i + b·C_j says of the factors c and d on the two: they are 1 + a and 1 + b where no path goes through
    both; where all that goes through i goes on through j, its factor is c·d, so that d = 1 + b and (c − 1)·d = a."""
    found = [(int(i), int(j), 1 + a, 1 + b)]
    if abs(1 + b) > 1e-9:
        found.append((int(i), int(j), 1 + a / (1 + b), 1 + b))
    if abs(1 + a) > 1e-9:
        found.append((int(i), int(j), 1 + a, 1 + b / (1 + a)))
    return found


def simple_rank(c: float) -> int:
    """0 is simpler than −1, that than 2, and these than any other factor."""
    return next((rank for rank, simple in enumerate((0, -1, 2)) if abs(c - simple) < 1e-7), 3)


def _has_factor(edge: Edge, c: float) -> bool:
    literal = edge.literal
    if literal is None or (edge.primitive == "integer_pow" and simple_rank(c) < 3):
        return False
    return any(abs(literal - factor) < 1e-6 * abs(factor) for factor in (c, 1 / c))


def _has_multiple(edge: Edge, c: float) -> bool:
    """A divisor of which c is a factor: of a mean over N·K one may forget K."""
    if edge.literal is None or not np.isfinite(edge.literal) or edge.primitive == "integer_pow":
        return False
    ratio = abs(edge.literal) / max(c, 1 / c) if c > 0 else 0.5
    return ratio > 1 and abs(ratio - round(ratio)) < 1e-9


def _is_minus(edge: Edge) -> bool:
    return edge.primitive == "neg" or (edge.literal is not None and edge.literal < 0)
