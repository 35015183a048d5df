"""Which mistake is named for a wrong leaf: the precedence of all explanations.

First a factor of an axis on the whole leaf, then paths of the forward, then patterns that fit exactly, then slips in
the derivative of one step, then patterns that fit loosely.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.leaves import cast, is_float, peak
from ..judge import reference
from ..judge.form import Malformed, float_cotangents
from ..judge.probe import Probe, probe
from ..report import Finding
from ..tolerances import JITTER, SEED_DY, SEED_JITTER, SLIGHT, TINY
from ..trial.draws import Draw, draw_cotangent, keeping
from ..trial.subject import Subject
from . import collectives
from .attribution import Attribution
from .evidence import line_of_use, placed
from .fits import axis_factor, leaf_factor
from .patterns import EXACT, LOOSE, UPDATED, Cases, Pattern, explain, explain_shape, unexplained
from .slips import exchanged


def diagnose(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """Findings for every leaf that is wrong, or breaks a law of the cotangent."""
    found = _before_laws(subject, probes, laws)
    named = {(f.argument, f.leaf) for f in found}
    wrong = [
        i
        for i, leaf in enumerate(probes[0].leaves)
        if leaf not in named and any(row[i] > 1 for p in probes for row in p.excess)
    ]
    constant = [i for i in wrong if not any(np.any(row[i]) for p in probes for row in p.refs)]
    found += [Finding(*probes[0].leaves[i], "constant-forward") for i in constant]
    wrong = [i for i in wrong if i not in constant]
    if not wrong:
        return found
    errors = {i: max(_relative_error(p, i) for p in probes) for i in wrong}
    slight = [i for i in wrong if errors[i] < SLIGHT < max(errors.values())]
    first, *others = _explain(subject, probes, [i for i in wrong if i not in slight])
    beside = [f"{probes[0].leaves[i].cotangent} is off too, by {errors[i]:.1g} of its largest entry" for i in slight]
    return [*found, dataclasses.replace(first, evidence=(*first.evidence, *beside)), *others]


def _relative_error(p: Probe, i: int) -> float:
    """The largest error of a leaf, as a share of its largest entry."""
    return max(peak(got[i] - ref[i]) / max(peak(ref[i]), TINY) for got, ref in zip(p.gots, p.refs, strict=True))


def _before_laws(subject: Subject, probes: Sequence[Probe], laws: list[Finding]) -> list[Finding]:
    """The broken laws; but a backward at updated weights, which is not linear in dy either, is named so, and first."""
    broken = {(f.argument, f.leaf): f for f in laws}
    cases = Cases(subject, probes) if laws else None
    for i, leaf in enumerate(probes[0].leaves):
        if cases and leaf in broken and (finding := explain(cases, i, UPDATED)):
            broken[leaf] = finding
    return sorted(broken.values(), key=lambda f: f.mistake != UPDATED[0].mistake)


def _jittered(subject: Subject, p: Probe) -> list[Probe]:
    """The same sizes at inputs nearby: a coincidence at one point does not survive at another.

    Empty if the function is not defined there, as beside the edge of its domain.
    """
    rng = np.random.default_rng([p.draw.seed, SEED_JITTER])
    args = jax.tree.map(
        lambda leaf: leaf * (1 + JITTER * rng.normal(size=leaf.shape)) if is_float(leaf) else leaf, p.draw.args
    )
    try:
        return [probe(subject, p.draw._replace(args=keeping(p.draw, args)))]
    except Malformed:  # NaN
        return []


def explain_shapes(subject: Subject, draw: Draw, malformed: Malformed) -> list[Finding]:
    """A name that says more than ``wrong-shape``, if the numbers give one."""
    if not all(f.mistake == "wrong-shape" for f in malformed.findings):
        return malformed.findings
    args = cast(draw.args, jnp.float64)
    y, residuals = subject.fwd(*args)
    dy = draw_cotangent(y, np.random.default_rng([draw.seed, SEED_DY]))
    gots = [np.asarray(leaf) for leaf in float_cotangents(args, subject.bwd(residuals, dy))]
    (refs,) = reference.pull(subject.primal, args, [dy])
    named = {(f.argument, f.leaf): f for f in malformed.findings}
    for i, (leaf, got, ref) in enumerate(zip(subject.leaves(args), gots, refs, strict=True)):
        others = [other for other in refs if other is not ref]
        if leaf in named and (finding := explain_shape(leaf, got, ref, others)):
            line = None if finding.mistake == "swapped-cotangents" else line_of_use(subject, args, i)
            named[leaf] = placed(finding, line)
    return list(named.values())


def _explain(subject: Subject, probes: Sequence[Probe], wrong: list[int]) -> list[Finding]:
    """A finding for each of the leaves ``wrong``, or for several at once."""
    found, left = collectives.explain(subject, probes, wrong)
    return [*found, *(_explain_on_one(subject, probes, left) if left else [])]


def _explain_on_one(subject: Subject, probes: Sequence[Probe], wrong: list[int]) -> list[Finding]:
    """The same, but for sums over devices."""
    probes = [probes[0], *_jittered(subject, probes[0]), *probes[1:]]
    paths = Attribution(subject, probes)
    factors = {i: finding for i in wrong if (finding := axis_factor(probes, i))}
    left = [i for i in wrong if i not in factors]
    together = paths.together(wrong) if factors else []
    if together and left:  # one factor among two mistakes
        return together
    found, left = paths.explain(left)
    found = [*(_at_path(finding, together) for finding in factors.values()), *found]
    if not left:
        return found
    cases = Cases(subject, probes)
    exact, left = _by_patterns(cases, left, EXACT)
    slips, numbers, left = exchanged.explain(subject, probes, left) if left else ([], [], [])
    for number in numbers:  # what is wrong besides: two mistakes at once
        beside, left = Attribution(subject, probes, number).explain(left) if left else ([], [])
        slips += beside
    loose, left = _by_patterns(cases, left, LOOSE)
    return [*found, *exact, *slips, *loose, *(leaf_factor(subject, probes, i) or unexplained(probes, i) for i in left)]


def _at_path(finding: Finding, paths: list[Finding]) -> Finding:
    """The finding of a whole leaf, with the line of the one path that has the same factor, if there is one."""
    if len(paths) != 1 or paths[0].mistake != finding.mistake:
        return finding
    return dataclasses.replace(finding, file=paths[0].file, line=paths[0].line, source=paths[0].source)


def _by_patterns(cases: Cases, left: list[int], patterns: Sequence[Pattern]) -> tuple[list[Finding], list[int]]:
    named = {i: finding for i in left if (finding := explain(cases, i, patterns))}
    return list(named.values()), [i for i in left if i not in named]
