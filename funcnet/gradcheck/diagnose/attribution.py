"""Names the path of the forward that an error comes from, with its factor, its line and the axis it follows."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..engine.leaves import cast, close, peak
from ..judge.probe import Probe
from ..report import Finding
from ..tolerances import FACTOR, FIT_ROUNDING, FOLLOWS, NOTHING
from ..trial.subject import Subject
from .evidence import by_shape, finding_at, together_then_alone
from .fits import POWERS, Fit, Fits, divisor, products, simple_rank
from .paths import Paths

LAST_USE = "holds, where several uses of this line reach one element, what one of them contributes, not their sum"
Axis = tuple[str, float]  # the name of an axis, or of several, and the power of its size


class Attribution:
    """Explains wrong leaves by paths of the forward, on probes of one shape; another shape says which axis a factor is.

    ``slip``: see ``Paths``.
    """

    def __init__(self, subject: Subject, probes: Sequence[Probe], slip: int | None = None):
        self.subject, self.slip = subject, slip
        self.same, self.others = by_shape(probes)
        plain = Paths(subject, self.same, slip)
        self.choices = [paths for paths in (plain, plain.frozen()) if paths] if plain.has_graph else []

    def explain(self, wrong: Sequence[int]) -> tuple[list[Finding], list[int]]:
        """Findings for the leaves ``wrong``, and the leaves that no path explains."""
        found: list[Finding] = []
        left = list(wrong)
        for group in together_then_alone(left):
            if named := self.together(group):
                found += named
                left[:] = [i for i in left if i not in group]
        overwritten = {i: finding for i in left if (finding := self._overwritten(i))}
        return [*found, *overwritten.values()], [i for i in left if i not in overwritten]

    def _overwritten(self, i: int) -> Finding | None:
        """The finding if each element of leaf i holds what the last of several uses that reach it contributes."""
        if not self.choices:
            return None
        paths = self.choices[0]
        entries = paths.leaf == i
        got, ref = paths.got[entries], paths.ref[entries]
        uses = defaultdict(list)
        for e, edge in enumerate(paths.edges):
            if not edge.only:
                uses[edge.value].append(e)
        for edges in (edges for edges in uses.values() if len(edges) > 1):
            parts = paths.parts[edges][:, entries]
            if not close(parts.sum(axis=0), ref):
                continue  # the leaf has other ways too
            for written in (parts, parts[::-1]):
                last = functools.reduce(lambda a, b: np.where(np.abs(b) > NOTHING * peak(ref), b, a), written)
                if close(got, last) and not close(got, ref):
                    return finding_at(paths.edges[edges[0]].line, [self.same[0].leaves[i]], "overwritten", LAST_USE)
        return None

    def together(self, leaves: Sequence[int]) -> list[Finding]:
        """Findings that explain all these leaves with one mistake or two; none if nothing does."""
        for paths in self.choices:
            fits = Fits(paths, leaves)
            if fits.has_error and (found := fits.single() or fits.double()):
                return self._findings(paths, found, leaves)
        return []

    def _findings(self, paths: Paths, fits: list[Fit], leaves: Sequence[int]) -> list[Finding]:
        found = []
        for fit, axis in zip(fits, self._followed(fits, leaves), strict=True):
            mistake, text = _named(fit, axis)
            reached = [i for i in leaves if paths.parts[fit.edge, paths.leaf == i].any()]
            named = [self.same[0].leaves[i] for i in reached or leaves]
            found.append(finding_at(paths.edges[fit.edge].line, named, mistake, text, fit.c, axis and axis[0]))
        return found

    def _followed(self, fits: list[Fit], leaves: Sequence[int]) -> list[Axis | None]:
        """For each fit, the axis that its factor follows to another set of sizes, if there is one."""
        choices = [self._axes(fit) for fit in fits]
        nothing: list[Axis | None] = [None] * len(fits)
        if not any(choices) or not self.others:
            return nothing
        elsewhere = self.others[0]
        there = products(elsewhere.draw.sizes)
        paths = Paths(self.subject, [elsewhere], self.slip)
        if not paths.has_graph or len(paths.edges) != len(self.choices[0].edges):
            return nothing
        combined = list(itertools.product(*([*choice, None] for choice in choices)))[:-1]
        tried: list[dict[int, float]] = []
        for axes in combined:
            factors = (there[axis[0]] ** axis[1] if axis else fit.c for fit, axis in zip(fits, axes, strict=True))
            tried.append({e: c for fit, c in zip(fits, factors, strict=True) for e in fit.together or (fit.edge,)})
        entries = np.isin(paths.leaf, leaves)
        got = paths.got[entries]
        for axes, values in zip(combined, paths.with_factors(tried)[:, entries], strict=True):
            if np.abs(values - got).max() < FOLLOWS * np.abs(got).max():
                return list(axes)
        return nothing

    def _axes(self, fit: Fit) -> list[Axis]:
        """The axes whose size to some power is the factor here."""
        sizes = products(self.same[0].draw.sizes).items()
        if simple_rank(fit.c) < 3:
            return []
        return [(axis, power) for power in POWERS for axis, size in sizes if abs(fit.c / size**power - 1) < FACTOR]


def paths_in_rounding(subject: Subject, p: Probe, wrong: Sequence[int]) -> dict[int, Finding]:
    """For the leaves of a backward in a narrow dtype, the path that each lost, negated or counted twice, if it did.

    The paths are those of the reference, in float64. They explain the error up to the dtype's rounding, which hides
    other factors, and two mistakes at once.
    """
    draw = p.draw._replace(args=cast(p.draw.args, np.float64))
    paths = Paths(subject, [p._replace(draw=draw, dys=cast(p.dys, np.float64))])
    found: dict[int, Finding] = {}
    for i, c in itertools.product(wrong if paths.has_graph else (), (2.0, -1.0, 0.0)):  # the simplest comes last
        entries = paths.leaf == i
        parts, error = paths.parts[:, entries], paths.error[entries]
        room = FIT_ROUNDING * p.unit * np.linalg.norm(paths.ref[entries])
        fitting = np.linalg.norm(error - (c - 1) * parts, axis=1) < room
        whole = [e for e in np.flatnonzero(fitting).tolist() if not paths.edges[e].only]
        if whole and np.linalg.norm(error) > 2 * room:
            mistake, text = _named(Fit(whole[0], c), None)
            found[i] = finding_at(paths.edges[whole[0]].line, [p.leaves[i]], mistake, text, c)
    return found


def _named(fit: Fit, axis: Axis | None) -> tuple[str, str]:
    """The mistake, and its explanation; empty if the sentence of the table says it all."""
    if fit.turn:
        return "overwritten", f"holds what the {fit.turn} step contributes; expected the sum over all steps"
    if (simple := simple_rank(fit.c)) < 3:
        return ("path-lost", "sign-flipped", "counted-twice")[simple], ""
    if axis is None:
        return "wrong-scale", f"is {fit.c:.10g} times the right gradient on the path through this line"
    name, power = axis
    if power in (1, -1):
        return divisor(name, power)
    return "wrong-scale", f"is {'√' if power > 0 else '1/√'}{name} times the right gradient on this path"
