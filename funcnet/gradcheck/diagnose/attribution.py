"""Names the path of the forward that an error comes from, with its factor, its line and the axis it follows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..judge.probe import Probe
from ..report import Finding
from ..trial.subject import Subject
from .graph import Edge
from .paths import POWERS, Fit, Paths, Seen, simple_rank
from .patterns import products


class Attribution:
    """Explains wrong leaves by paths of the forward, on probes of one shape and then on ``others``."""

    def __init__(self, subject: Subject, probes: Sequence[Probe], rule: int | None = None):
        self.subject, self.rule = subject, rule
        same = [p for p in probes if p.draw.sizes == probes[0].draw.sizes]
        self.others = [p for p in probes[len(same) :] if all(size > 1 for size in p.draw.sizes.values())]
        plain = Paths(subject, same, rule)
        self.variants = [v for v in (plain, plain.frozen() if plain.has_graph else None) if v and v.has_graph]

    def explain(self, wrong: Sequence[int]) -> tuple[list[Finding], list[int]]:
        """Findings for the leaves ``wrong``, and the leaves that no path explains.

        All leaves are tried together, as one lost path upstream spoils several; then each alone.
        """
        found: list[Finding] = []
        left = list(wrong)
        for group in [left, *([i] for i in left if len(left) > 1)]:
            if set(group) <= set(left) and (named := self.together(group)):
                found += named
                left = [i for i in left if i not in group]
        return found, left

    def together(self, leaves: list[int]) -> list[Finding]:
        """Findings that explain these leaves with one mistake or two; none where nothing does."""
        for paths in self.variants:
            seen = Seen(paths, leaves)
            if np.abs(seen.error).max(initial=0) > 1e-10 * np.abs(seen.ref).max(initial=0):  # else at another size only
                fits = seen.single() or seen.double()
                if fits:
                    return self._findings(paths.edges, fits, leaves)
        return []

    def _findings(self, edges: list[Edge], fits: list[Fit], leaves: list[int]) -> list[Finding]:
        """The findings in words; an axis is named only where the factor follows it to a second set of sizes."""
        names = [self.variants[0].probes[0].leaves[i] for i in leaves]
        also = [name.cotangent for name in names[1:]]
        evidence = (f"the same path explains {', '.join(also)}",) if also else ()
        found = []
        for fit, follows in zip(fits, self._followed(fits, leaves), strict=True):
            mistake, axis, text = _named(fit, follows)
            file, number, source, _ = edges[fit.edge].line
            found.append(Finding(*names[0], mistake, text, fit.c, axis, file, number, source, evidence))
        return found

    def _followed(self, fits: list[Fit], leaves: list[int]) -> list[tuple[str, float] | None]:
        """For every fit the axis and the power by which its factor follows that axis to a second set of sizes."""
        sizes = products(self.variants[0].probes[0].draw.sizes)
        choices = [
            [
                (axis, power)
                for power in POWERS
                for axis, size in sizes.items()
                if simple_rank(fit.c) == 3 and abs(fit.c / size**power - 1) < 1e-7
            ]
            for fit in fits
        ]
        if not any(choices) or not self.others:
            return [None] * len(fits)
        elsewhere = self.others[0]
        there = products(elsewhere.draw.sizes)
        paths = Paths(self.subject, [elsewhere], self.rule)
        combined = list(itertools.product(*([*choice, None] for choice in choices)))[:-1]
        if not paths.has_graph or len(paths.edges) != len(self.variants[0].edges):
            return [None] * len(fits)
        rows = np.ones((len(combined), len(paths.edges)))
        for row, follows in zip(rows, combined, strict=True):
            for fit, follow in zip(fits, follows, strict=True):
                row[list(fit.all_at) or [fit.edge]] = there[follow[0]] ** follow[1] if follow else fit.c
        entries = np.isin(paths.leaf, leaves)
        got = paths.got[entries]
        for follows, values in zip(combined, paths.at(rows)[:, entries], strict=True):
            if np.abs(values - got).max() < 1e-8 * np.abs(got).max():
                return list(follows)
        return [None] * len(fits)


def _named(fit: Fit, follows: tuple[str, float] | None) -> tuple[str, str | None, str]:
    """The mistake, the axis it is about and what is said of it."""
    if fit.remains:
        return "overwritten", None, f"holds the contribution of {fit.remains} only; expected the sum over all"
    if (simple := simple_rank(fit.c)) < 3:
        return [
            ("path-lost", None, "the gradient that flows through this line is missing"),
            ("sign-flipped", None, "the gradient through this line has the wrong sign"),
            ("counted-twice", None, "the gradient through this line is counted twice"),
        ][simple]
    if follows is None:
        return "wrong-scale", None, f"is {fit.c:.10g} times what it should be on this path"
    axis, power = follows
    if power == 1:
        return "missing-mean-divisor", axis, f"is {axis} times too large on this path: not divided by {axis}"
    if power == -1:
        text = f"is {axis} times too small on this path: divided by {axis} once too often"
        return "extra-mean-divisor", axis, text
    kind = "√" if power > 0 else "1/√"
    return "wrong-scale", axis, f"is {kind}{axis} times what it should be on this path"
