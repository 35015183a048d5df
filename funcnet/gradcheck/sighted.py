"""Verdicts that stand on one probe, which sees errors down to a size of its own: differences, and narrow dtypes."""

import contextlib
import dataclasses
from typing import Any

import numpy as np

from . import tolerances
from .diagnose.attribution import paths_in_rounding
from .diagnose.numbers import by_numbers
from .engine.inspection import primitives
from .engine.leaves import all_finite
from .engine.width import as_users_have_it, in_float64
from .judge import narrow, reference
from .judge.assumptions import negligible_guards
from .judge.form import Malformed
from .judge.ladder import Sight, probe_by_differences
from .judge.laws import law_findings
from .judge.probe import Probe, worst_elements, worst_errors
from .report import Finding, Report
from .trial.draws import Draw, Inputs
from .trial.subject import DIFFERENCES, UNDECORATED, Subject

SLIGHT = "low-precision-accumulation"


def is_a_limit(subject: Subject, args: tuple[Any, ...]) -> bool:
    """Whether the function has a rule and a loop: the rule may be the derivative of the limit.

    Autodiff of the iteration is another one then, and takes a run for each element, as such a loop has no reverse.
    """
    return subject.reference == UNDECORATED and "while" in primitives(*reference.of_floats(subject.primal, args))


def of_a_limit(subject: Subject, draw: Draw, report: Report) -> Report | None:
    """The verdict correct, if differences side with the backward, perhaps if the loop's tolerance is smaller."""
    seen = probe_by_differences(subject, draw)
    told = _told(subject, seen, DIFFERENCES, report)
    if told.verdict != "wrong":
        return told if told else None
    again = lambda bare, at: probe_by_differences(bare, at).probe  # noqa: E731
    lawful = not law_findings(subject, seen.probe)
    condition, _ = negligible_guards(subject, [seen.probe], lawful, again)
    if not condition:
        return None
    conditions = (*report.conditions, condition)
    return dataclasses.replace(told, verdict="correct", findings=(), elements=(), conditions=conditions)


def sided_with(subject: Subject, given: Inputs, wrong: Probe, report: Report) -> Report | None:
    """The verdict correct if differences side with the backward against autodiff; else None.

    They must see an error of the size of that in ``wrong``: autodiff errs then, and not the backward.
    """
    seen = by_differences(subject, given._replace(narrow=False), report)
    error = max(map(max, wrong.excess)) * tolerances.RELATIVE  # as a share of the largest entry of its leaf
    if not seen or error <= seen.sight:
        return None
    text = "autodiff of the forward disagrees with the backward, and differences side with the backward"
    return dataclasses.replace(seen, elements=(), notes=(*seen.notes, text))


def by_differences(subject: Subject, given: Inputs, report: Report) -> Report:
    """The verdict if nothing can be differentiated for reference. Raises Malformed."""
    return _told(subject, probe_by_differences(subject, given.draws[0]), DIFFERENCES, report)


def in_its_dtypes(subject: Subject, draw: Draw, report: Report) -> Report:
    """The verdict on a function that runs in the dtypes of its arguments alone. Raises Malformed."""
    if subject.reference != DIFFERENCES:
        try:
            seen = narrow.narrow_probe(subject, draw)
            with as_users_have_it(draw.args):
                told = _told(subject, seen, subject.reference, report)
            return at_activations(subject, draw, told, seen.probe) if told else told
        except reference.NoReference as error:
            report = report.but(notes=[str(error)])
    with as_users_have_it(draw.args):
        return _told(subject, probe_by_differences(subject, draw, narrow=True), DIFFERENCES, report)


def at_activations(
    subject: Subject, draw: Draw, report: Report, ordinary: Probe | None = None, exact: Any = None
) -> Report:
    """The verdict where one leaf is like activations, for what is right at the first inputs. Raises Malformed.

    ``ordinary``: the probe of a function that cannot be widened: an error that leaves nothing of a gradient is its
    mistake. ``exact``: the reference in float64 of one that can, and is right there: the arithmetic is at fault.
    """
    if ordinary is None:
        try:
            first = narrow.narrow_probe(subject, draw, exact=exact)
        except reference.NoReference:
            return report
        ordinary = first.probe
        if not ordinary.agrees or first.value_off:
            return report
    tried: dict[str, list[str]] = {}
    faults = []
    for kind, name, seen in narrow.at_activations(subject, draw, ordinary, exact):
        tried.setdefault(name, []).append(kind)
        if not seen.probe.agrees or seen.value_off:
            faults.append((_faults(seen, f"with {kind} in {name}", bool(exact)), seen.probe))
    shown = [f"{name} with {', '.join(kinds)}" for name, kinds in tried.items()]
    report = dataclasses.replace(report, probes=(*report.probes, *shown))
    if not faults:
        return report
    slight = [bool(exact) or all(finding.mistake == SLIGHT for finding in found) for found, _ in faults]
    found, p = faults[slight.index(min(slight))]  # a mistake, if there is one
    report = dataclasses.replace(report, elements=worst_elements(p, p.wrong[0]) if p.wrong else ())
    return report.but("imprecise" if all(slight) else "wrong", found)


def _faults(seen: Sight, where: str, derived: bool) -> list[Finding]:
    """What is off at inputs of a kind: the value, and each wrong leaf."""
    p, found = seen.probe, []
    if seen.value_off:
        text = f"{where} off by {seen.value_off:.1e} of the largest entry"
        finite = Finding("", "y", SLIGHT if seen.value_off <= tolerances.LOST else "primal-mismatch", text)
        infinite = Finding("", "y", "not-finite", f"{where} it holds NaN or infinity")
        found.append(finite if seen.value_off < np.inf else infinite)
    for i, named in zip(p.wrong, by_numbers(p), strict=True):
        off = max(narrow.off(got[i], ref[i]) for got, ref in zip(p.gots, p.refs, strict=True))
        text = f"{where} off by {off:.1e} of the largest entry; rounding explains {seen.blurred[i]:.0e}"
        if off <= tolerances.LOST or derived:
            found.append(Finding(*p.leaves[i], SLIGHT if off < np.inf else "not-finite", text))
        else:
            found.append(dataclasses.replace(named, explanation=f"{where}: {named.explanation}"))
    return found


def _told(subject: Subject, seen: Sight, rung: str, report: Report) -> Report:
    """The verdict from one probe, which sees errors down to a size of its own. Raises Malformed."""
    if seen.value_off:
        text = f"is off by {seen.value_off:.1e} of the largest entry"
        raise Malformed([Finding("", "y", "primal-mismatch", text)])
    p, blurred = seen.probe, max(seen.blurred)
    report = dataclasses.replace(
        report, worst=worst_errors([p]), probes=report.probes[:1], reference=rung, sight=blurred
    )
    if not blurred <= (tolerances.BLURRED if rung == DIFFERENCES else tolerances.BLURRED_NARROW):
        text = f"{rung} shows no error below {blurred:.0e} of the largest entry here: that is too little for a verdict"
        return report.but("inconclusive", notes=[text])
    laws = law_findings(subject, p) if all_finite(p.gots) else []  # NaN obeys no law, and says nothing of them
    if p.agrees and not laws:
        return report
    elements = worst_elements(p, p.wrong[0]) if p.wrong else ()
    report = dataclasses.replace(report, elements=elements)
    return report.but("wrong", laws or _named(subject, p, rung))


def _named(subject: Subject, p: Probe, rung: str) -> list[Finding]:
    """What the numbers say of each wrong leaf; if that is nothing, a path of the reference, if there is one."""
    named = dict(zip(p.wrong, by_numbers(p), strict=True))
    vague = [i for i, finding in named.items() if finding.mistake == "unexplained"]
    if vague and rung != DIFFERENCES:
        with contextlib.suppress(Exception), in_float64():  # the reference may not be traced in float64
            named |= paths_in_rounding(subject, p, vague)
    return list(named.values())
