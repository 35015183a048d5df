"""What a learner is told: a ladder of hints, from "dx is wrong" to the whole derivation."""

from collections.abc import Sequence
from pathlib import Path

from ..gradcheck.mistakes import MISTAKES
from ..gradcheck.report import Finding, Report
from .index import Exercise

Rung = list[str]
SAME = "the same explains"  # as the evidence of a finding begins that stands for others too


def ladder(task: Exercise, report: Report | None, file: Path) -> list[Rung]:
    """All hints on a wrong answer, each as lines; or those on the exercise, if there is no report.

    In order: which gradient is wrong; what kind of mistake; which line of the forward, and what to do; the formula; the
    derivation.
    """
    steps = task.derivation.rpartition("\n\n")[0]
    general = [["the formula:", *_indented(task.formula)], ["the derivation:", *_indented(steps)]]
    return general if report is None else [*told(task.gradients, report, file.name, text_of(file)), *general]


def told(gradients: Sequence[str], report: Report, file: str, text: str) -> list[Rung]:
    """What the checker says of a backward that is not right, in up to three rungs.

    ``gradients``: the names of all, in order. ``text``: of the author's file, in which the lines are looked up.
    """
    if report.verdict == "correct":  # under a condition, which nobody makes
        return [[f"right only if {' and '.join(report.conditions)}, and that is not given here"]]
    if report.verdict == "inconclusive":
        return [[f"the checker cannot say: {'; '.join(report.notes)}"]]
    return [_which(gradients, report), [_kind(f) for f in report.findings], _where(report, file, text)]


def text_of(file: Path) -> str:
    return file.read_text("utf-8", "replace")


def _indented(text: str) -> Rung:
    return [f"   {line}".rstrip() for line in text.splitlines()]


def name_of(finding: Finding) -> str:
    """The gradient that a finding is about."""
    return f"d{finding.argument}{finding.leaf}" if finding.argument else "the backward"


def wrong_gradients(gradients: Sequence[str], report: Report) -> list[str]:
    """Those of ``gradients`` that are wrong, in their order; of one mistake the findings name the first alone."""
    found = {name_of(finding) for finding in report.findings}
    found |= {f"d{name}" for name, error in report.worst.items() if not error <= 1}
    return [name for name in (*gradients, "the backward") if name in found]


def _which(gradients: Sequence[str], report: Report) -> Rung:
    """Which gradients are wrong, with an element, and which are right."""
    shapes = {name_of(f): f.explanation.partition(": ")[0] for f in report.findings if "has shape" in f.explanation}
    wrong, lines = wrong_gradients(gradients, report), []
    for name in wrong:
        element = next((e for e in report.elements if e.name.split("[")[0] == name), None)
        shown = f": {element.name} is {element.got + 0:.4g}, and should be {element.expected:.4g}" if element else ""
        lines.append(f"{name} {shapes.get(name, 'is wrong')}{shown}")
    right = [name for name in gradients if name not in wrong] if report.worst else []
    verb = "are" if len(right) > 1 else "is"
    return [*lines, *[f"{' and '.join(right)} {verb} right"] * bool(right)]


def _kind(finding: Finding) -> str:
    """The kind of mistake, without its line; what the checker adds in evidence may say that others are explained."""
    said = finding.explanation.replace("this line's", "one line's").replace("this line", "one line of the forward")
    more = "".join(f"; {text}" for text in finding.evidence if text.startswith(SAME))
    return f"{name_of(finding)} {said} ({finding.mistake}){more}"


def _where(report: Report, file: str, text: str) -> Rung:
    """The lines of the forward, as they stand in the author's file, and what to do."""
    lines = []
    for finding in report.findings:
        if finding.source is not None:
            shown = f"{file}{_line(text, finding)}: {finding.source}"
            lines.append(f"{name_of(finding)}: look at {shown}")
    named = len(report.mistakes) > 1
    return [*lines, *(f"{f'{m}: ' if named else ''}{MISTAKES[m].remedy}" for m in report.mistakes)]


def _line(text: str, finding: Finding) -> str:
    """``:12``, if the line of the forward that is judged stands in the author's file; the nearest, if it does twice."""
    lines = [line.strip() for line in text.splitlines()]
    places = [number for number, line in enumerate(lines, 1) if line == finding.source]
    nearest = min(places, key=lambda number: abs(number - (finding.line or 0)), default=None)
    return "" if nearest is None else f":{nearest}"
