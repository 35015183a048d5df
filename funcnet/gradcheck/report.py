"""The answer of the checker: a verdict, and for each finding the cotangent, the mistake and the line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Literal

from .mistakes import MISTAKES

Verdict = Literal["correct", "wrong", "imprecise", "inconclusive"]
STYLES = {"correct": "green", "wrong": "bold red", "imprecise": "yellow", "inconclusive": "yellow"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One mistake: where it shows, its id in the table of mistakes, and the evidence for it.

    Without an ``argument``, ``leaf`` names y, a residual, fwd or bwd instead; if it is empty too, the rule.
    Without an ``explanation`` the sentence of the table stands. ``factor`` is got / expected if that is one number,
    and ``axis`` the axis whose size it follows. ``line`` and ``source`` are the forward's own line, if the error comes
    from one. Raises ValueError for a mistake that is not in the table.
    """

    argument: str
    leaf: str
    mistake: str
    explanation: str = ""
    factor: float | None = None
    axis: str | None = None
    file: str | None = None
    line: int | None = None
    source: str | None = None
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mistake not in MISTAKES:
            raise ValueError(f"{self.mistake!r} is not in the table of mistakes")
        object.__setattr__(self, "explanation", self.explanation or MISTAKES[self.mistake].sentence)

    def __str__(self) -> str:
        where = f"{shown_path(self.file)}:{self.line}: {self.source}" if self.file and self.line is not None else None
        what = f"d{self.argument}{self.leaf}" if self.argument else self.leaf or "the rule"
        lines = [f"{what}: {self.mistake}: {self.explanation}", where, *self.evidence]
        return "\n    ".join(line for line in lines if line)

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON can hold it, with the remedy of the table."""
        return dataclasses.asdict(self) | {"remedy": MISTAKES[self.mistake].remedy}


def shown_path(file: str) -> str:
    """A path as one would type it: relative if it is below the working directory; of a notebook's cell, no path."""
    if os.path.basename(os.path.dirname(file)).startswith("ipykernel_"):
        return "cell"
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative


@dataclasses.dataclass(frozen=True)
class Element:
    """One element of a cotangent, ``dx[1, 2]``: the value the backward gave, and the right one."""

    name: str
    got: float
    expected: float

    def __str__(self) -> str:
        ratio = f"{self.got / self.expected:.6g}" if self.expected else "-"
        return f"{self.name:<16} {self.got:>13.6g} {self.expected:>13.6g} {ratio:>13}"


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """The answer of ``check``. ``str(report)`` is for people, ``to_dict()`` for machines."""

    name: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    worst: dict[str, float]
    """The largest error of each cotangent over all probes, as a multiple of the error allowed in float64."""
    probes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()
    """The wrong elements that are farthest off."""
    adequacy: float | None = None
    """The share of the mutants of a right backward that these probes would have caught."""
    conditions: tuple[str, ...] = ()
    """A verdict of correct holds if these hold, such as "labels is not differentiated"."""
    reference: str = ""
    """The rung of the ladder of references that the verdict stands on, such as "differences"."""
    sight: float = 0.0
    """The error, as a share of the largest entry of its leaf, below which the reference sees nothing."""
    ulps: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    """The largest error against float64, by dtype and by mode (eager, jit, vmap), in units in the last place of the
    largest entry of its leaf."""

    def but(
        self, verdict: Verdict | None = None, findings: Sequence[Finding] = (), notes: Sequence[str] = ()
    ) -> Report:
        """This report with another verdict, and with further findings and notes."""
        return dataclasses.replace(
            self,
            verdict=verdict or self.verdict,
            findings=(*self.findings, *findings),
            notes=(*self.notes, *notes),
        )

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The ids of the mistakes found, each once."""
        return tuple(dict.fromkeys(finding.mistake for finding in self.findings))

    def __bool__(self) -> bool:
        """Whether the verdict is ``correct``."""
        return self.verdict == "correct"

    def __str__(self) -> str:
        condition = f", if {' and '.join(self.conditions)}" if self.conditions and self else ""
        lines = [f"{self.name}: {self.verdict.upper()}{condition}", *(f"  {finding}" for finding in self.findings)]
        named = len(self.mistakes) > 1
        lines += [f"  fix {mistake if named else 'it'}: {MISTAKES[mistake].remedy}" for mistake in self.mistakes]
        if self.elements:
            lines += [f"  {'worst elements':<16} {'got':>13} {'expected':>13} {'ratio':>13}"]
            lines += [f"  {element}" for element in self.elements]
        lines += [f"  note: {note}" for note in self.notes]
        lines.append(f"  probes: {'; '.join(self.probes)}")
        if self.reference:
            sight = f", which show errors above {self.sight:.0e} of the largest entry" if self.sight else ""
            lines.append(f"  reference: {self.reference}{sight}")
        if self.adequacy is not None:
            lines.append(f"  adequacy: {self.adequacy:.0%} of the mutants of this backward would have been caught")
        return "\n".join(lines)

    __repr__ = __str__

    def __rich__(self) -> Any:
        """The same in colour, if ``rich`` prints it on a terminal."""
        from rich.text import Text

        text = Text(str(self))
        text.highlight_words([self.verdict.upper()], STYLES[self.verdict])
        text.highlight_words(self.mistakes, "bold")
        text.highlight_words([finding.source for finding in self.findings if finding.source], "cyan")
        return text

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return dataclasses.asdict(self) | {"findings": [finding.to_dict() for finding in self.findings]}


class DerivationError(AssertionError):
    """A derivation is not correct; the message is the report."""

    def _render_traceback_(self) -> list[str]:
        """For notebooks: the report, without the checker's own frames."""
        return [str(self)]


def shown_alone(error: BaseException | None) -> Any:
    """An error without the checker's own frames: those of the code that was checked, if any, remain."""
    frames = error.__traceback__ if error else None
    while frames and frames.tb_frame.f_code.co_filename.startswith(os.path.dirname(__file__)):
        frames = frames.tb_next
    return error and error.with_traceback(frames)
