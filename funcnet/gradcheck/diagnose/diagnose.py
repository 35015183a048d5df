"""Which mistake is named for the leaves that are wrong: the precedence of all explanations.

Factors of an axis on a whole leaf first, then paths of the forward, then what equals something else exactly, then
wrong local derivatives of one step, then the patterns that only say where the errors are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.jaxprs import program_of
from ..engine.leaves import cast, is_float
from ..judge import reference
from ..judge.form import Malformed, float_cotangents
from ..judge.probe import Probe, probe
from ..report import Finding
from ..tolerances import JITTER, SEED_DY, SEED_JITTER
from ..trial.draws import Draw, draw_cotangent
from ..trial.subject import Subject
from . import patterns as hypotheses
from .attribution import Attribution
from .graph import Misderived
from .paths import file_of, stacked
from .slips.operands import wrong_rules
from .slips.slip import WrongRule


def diagnose(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """Findings for every leaf that is wrong, or breaks a law of the cotangent."""
    found = _before_laws(subject, probes, laws)
    named = {(f.argument, f.leaf) for f in found}
    wrong = [
        i
        for i, leaf in enumerate(probes[0].leaves)
        if leaf not in named and any(row[i] > 1 for p in probes for row in p.excess)
    ]
    return found + explain(subject, probes, _jittered(subject, probes[0]), wrong) if wrong else found


def _before_laws(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """A backward at updated weights is not linear in dy either, and that says more."""
    broken = {(f.argument, f.leaf): f for f in laws}
    for i, leaf in enumerate(probes[0].leaves):
        if leaf in broken and (finding := hypotheses.updated_weights(subject, probes, i)):
            broken[leaf] = finding
    return sorted(broken.values(), key=lambda f: f.mistake != "updated-weights")


def _jittered(subject: Subject, p: Probe) -> Probe:
    """The same sizes at inputs nearby: a coincidence at one point does not survive at another."""
    rng = np.random.default_rng([p.draw.seed, SEED_JITTER])
    args = jax.tree.map(
        lambda leaf: leaf * (1 + JITTER * rng.normal(size=leaf.shape)) if is_float(leaf) else leaf, p.draw.args
    )
    return probe(subject, p.draw._replace(args=args))


def explain_shapes(subject: Subject, draw: Draw, malformed: Malformed) -> list[Finding]:
    """A name that says more than ``wrong-shape``, if the numbers give one."""
    if not all(f.mistake == "wrong-shape" for f in malformed.findings):
        return malformed.findings
    args = cast(draw.args, jnp.float64)
    y, residuals = subject.fwd(*args)
    dy = draw_cotangent(y, np.random.default_rng([draw.seed, SEED_DY]))
    gots = [np.asarray(leaf) for leaf in float_cotangents(args, subject.bwd(residuals, dy))]
    _, (refs,) = reference.pull(subject.primal, args, [dy])
    named = {(f.argument, f.leaf): f for f in malformed.findings}
    for leaf, got, ref in zip(subject.leaves(args), gots, refs, strict=True):
        others = [other for other in refs if other is not ref]
        if leaf in named and (finding := hypotheses.explain_shape(*leaf, got, ref, others)):
            named[leaf] = finding
    return list(named.values())


def explain(subject: Subject, probes: Sequence[Probe], jittered: Probe, wrong: Sequence[int]) -> list[Finding]:
    """A finding for each of the leaves ``wrong``, or for several at once. ``jittered``: the first probe, nearby."""
    if not wrong:
        return []
    factors = {i: finding for i in wrong if (finding := hypotheses.axis_factor(subject, probes, i))}
    left = [i for i in wrong if i not in factors]
    paths = Attribution(subject, [probes[0], jittered, *probes[1:]])
    together = paths.together(list(wrong)) if factors else []
    if together and not left:
        factors = {i: _placed(finding, together) for i, finding in factors.items()}
    elif together:  # one factor among two mistakes
        return together
    found, left = paths.explain(left)
    found = [*factors.values(), *found]
    if not left:
        return found
    probes = [probes[0], jittered, *probes[1:]]
    tools = hypotheses.tools_for(subject, probes)

    def by(signatures: Sequence[hypotheses.Signature], left: list[int]) -> tuple[list[Finding], list[int]]:
        named = {i: f for i in left if (f := hypotheses.explain(subject, tools, probes, i, signatures))}
        return list(named.values()), [i for i in left if i not in named]

    exact, left = by(hypotheses.EXACT, left)
    local, left = _by_wrong_rules(subject, probes, left)
    patterns, left = by(hypotheses.PATTERNS, left)
    return [*found, *exact, *local, *patterns, *(hypotheses.unexplained(subject, probes, i) for i in left)]


def _placed(finding: Finding, paths: list[Finding]) -> Finding:
    """The finding of a whole leaf, with the line of the path that has the same factor."""
    path = paths[0]
    same = len(paths) == 1 and path.mistake == finding.mistake
    return dataclasses.replace(finding, file=path.file, line=path.line, source=path.source) if same else finding


def _by_wrong_rules(subject: Subject, probes: Sequence[Probe], left: list[int]) -> tuple[list[Finding], list[int]]:
    """Whether the VJP with the derivative of one step exchanged is what was got: on all leaves, or on each alone."""
    if not left:
        return [], []
    same = [p for p in probes if p.draw.sizes == probes[0].draw.sizes]
    others = [p for p in probes[len(same) :] if all(size > 1 for size in p.draw.sizes.values())]
    found: list[Finding] = []
    used: list[int] = []
    rules = _rules(subject, same[0])
    rare = next((k for k, rule in enumerate(rules) if rule.mistake == "jacobian-diagonal-only"), len(rules))
    for batch in (range(rare), range(rare, len(rules))):  # what is rare, or dear to compile, only if need be
        tried = _Tried(subject, same, batch) if left and batch else None
        for group in [left, *([i] for i in left if len(left) > 1)]:
            if tried is None or not set(group) <= set(left):
                continue
            for k in tried.explaining(group):
                if all(_Tried(subject, [p], [k]).explaining(group) for p in others[:1]):
                    group = [i for i in left if k in tried.explaining([i])]
                    found.append(_finding(probes, group, rules[k]))
                    left = [i for i in left if i not in group]
                    used.append(k)
                    break
    for k in used:  # what is wrong besides: two mistakes at once
        if left:
            paths, left = Attribution(subject, probes, k).explain(left)
            found += paths
    return found, left


def _rules(subject: Subject, p: Probe) -> list[WrongRule]:
    f, floats = reference.of_floats(subject.primal, p.draw.args)
    return wrong_rules(program_of(f, floats, file_of(subject), inline_custom=True))


class _Tried:
    """The wrong rules of the numbers ``chosen``, tried on probes of one shape."""

    def __init__(self, subject: Subject, probes: Sequence[Probe], chosen: Sequence[int]):
        f, floats = reference.of_floats(subject.primal, probes[0].draw.args)
        program = program_of(f, floats, file_of(subject), inline_custom=True)
        self.chosen, self.misderived = chosen, Misderived(program, chosen)
        self.got, self.ref = stacked(probes, "gots"), stacked(probes, "refs")
        self.leaf = np.concatenate([np.full(r.size, i) for p in probes for row in p.refs for i, r in enumerate(row)])
        self.values = np.zeros((0, len(self.got)))
        if self.misderived.rules:
            each = [
                self.misderived.vjps(p.dys, reference.of_floats(subject.primal, p.draw.args)[1]) for p in probes
            ]  # fmt: skip
            self.values = np.concatenate(each, axis=1)

    def explaining(self, leaves: Sequence[int]) -> list[int]:
        """The numbers of the rules by which every one of these leaves is what was got, and not what is right."""
        fits = np.ones(len(self.values), bool)
        for i in leaves:
            entries = self.leaf == i
            values, got, ref = self.values[:, entries], self.got[entries], self.ref[entries]
            close = np.abs(values - got).max(axis=1) <= 1e-9 * np.abs(got).max()
            fits &= close & (np.abs(values - ref).max(axis=1) > 1e-7 * np.abs(ref).max())
        return [self.chosen[k] for k in np.flatnonzero(fits).tolist()]


def _finding(probes: Sequence[Probe], leaves: Sequence[int], rule: WrongRule) -> Finding:
    names = [probes[0].leaves[i] for i in leaves]
    also = [name.cotangent for name in names[1:]]
    evidence = (f"the same explains {', '.join(also)}",) if also else ()
    line = rule.line
    return Finding(*names[0], rule.mistake, rule.text, None, None, line.file, line.number, line.text, evidence)
