"""The part of the true VJP that flows through each edge of the forward.

For an edge e let C_e = VJP − VJP(gradient through e stopped). The VJP is affine in a factor on one edge, so a backward
that lost, negated, doubled or mis-scaled one path satisfies got − ref = (c − 1)·C_e exactly. The VJP is not affine in c
in a loop, nor if one position of the source is traced several times: there it is evaluated at likely values of c.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..engine.leaves import close, peak
from ..judge.probe import Probe
from ..tolerances import ABSOLUTE, NOTHING
from ..trial.subject import Subject
from .evidence import Evidence
from .graph import Graph
from .slips.exchanged import in_force


class Paths:
    """The graph of the forward beside the evidence of probes of one shape.

    ``slip``: the number of a slip that is taken as given; the error is the one that remains beside it.
    """

    graph: Graph

    def __init__(self, subject: Subject, probes: Sequence[Probe], slip: int | None = None):
        self.evidence, self.slip = Evidence(subject, probes), slip
        self.probes, self.leaf = probes, self.evidence.leaf
        self.ref, self.got = self.evidence.ref, self.evidence.got
        self.has_graph = any(self._graph_is(inline) for inline in (True, False))
        self.error = self.got - self.ref

    def _graph_is(self, inline_custom: bool) -> bool:
        """Builds the graph, and says whether it has edges and the true VJP.

        Looking into a custom derivative may change the VJP: then it stays one opaque step.
        """
        program = self.evidence.program(inline_custom)
        self.graph = Graph(program, None if self.slip is None else in_force(program, self.slip))
        self.edges, self.alive = self.graph.edges, np.ones(len(self.graph.edges))
        if not self.edges:
            return False
        values = self.at(np.ones((1, len(self.edges))))[0]
        if self.slip is not None:
            self.ref = values
        return close(values, self.ref)

    def at(self, rows: np.ndarray) -> np.ndarray:
        """For each row of factors, one for every edge: the VJP on all probes and cotangents."""
        return self.evidence.vjps(self.graph.vjps, np.asarray(rows) * self.alive)

    def with_factors(self, tried: Sequence[dict[int, float]]) -> np.ndarray:
        """The same for factors by edge; all others are 1."""
        rows = np.ones((len(tried), len(self.edges)))
        for row, factors in zip(rows, tried, strict=True):
            row[list(factors)] = list(factors.values())
        return self.at(rows)

    @functools.cached_property
    def parts(self) -> np.ndarray:
        """C_e for every edge."""
        n = len(self.edges)
        values = self.at(np.vstack([np.ones(n), 1 - np.eye(n)]))
        return values[0] - values[1:]

    def frozen(self) -> Paths | None:
        """The same with cancelling paths stopped; None if there are none, or if the VJP would change.

        A derivation by hand leaves such paths out (a shift by the maximum): they must not come alive when another path
        is lost.
        """
        idle = np.abs(self.parts).max(axis=1) <= NOTHING * np.abs(self.ref).max()
        other = object.__new__(Paths)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != "parts"})
        other.alive = np.where(idle, 0.0, 1.0)
        if not idle.any() or not close(other.at(np.ones((1, len(self.edges))))[0], self.ref):
            return None
        return None if np.array_equal(other.parts, self.parts) else other


def without_cancelled(subject: Subject, p: Probe) -> Probe:
    """``p`` without the leaves that cancel to zero beside the size of the parts that cancel: they pass as right."""
    suspects = p.tiny()
    paths = Paths(subject, [p]) if suspects else None
    if paths is None or not paths.has_graph:
        return p
    sizes = {i: peak(paths.parts[:, paths.leaf == i]) for i in suspects}
    peaks = {i: peak([row[i] for row in (*p.refs, *p.gots)]) for i in suspects}
    return p.without(i for i in suspects if peaks[i] <= ABSOLUTE * sizes[i])
