"""Verdicts that stand on one probe, which sees errors down to a size of its own: differences, and narrow dtypes."""

import contextlib
import dataclasses
from typing import Any

from . import tolerances
from .diagnose.attribution import paths_in_rounding
from .diagnose.numbers import by_numbers
from .engine.inspection import primitives
from .engine.leaves import all_finite
from .engine.width import as_users_have_it, in_float64
from .judge import reference
from .judge.assumptions import negligible_guards
from .judge.ladder import Sight, probe_by_differences
from .judge.laws import law_findings
from .judge.narrow import narrow_probe
from .judge.probe import Probe, worst_elements, worst_errors
from .report import Finding, Report
from .trial.draws import Draw, Inputs
from .trial.subject import DIFFERENCES, UNDECORATED, Subject


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
            seen = narrow_probe(subject, draw)
            with as_users_have_it(draw.args):
                return _told(subject, seen, subject.reference, report)
        except reference.NoReference as error:
            report = report.but(notes=[str(error)])
    with as_users_have_it(draw.args):
        return _told(subject, probe_by_differences(subject, draw, narrow=True), DIFFERENCES, report)


def _told(subject: Subject, seen: Sight, rung: str, report: Report) -> Report:
    """The verdict from one probe, which sees errors down to a size of its own. Raises Malformed."""
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
