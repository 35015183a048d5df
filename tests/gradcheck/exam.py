"""The checker's exam: every planted mistake is given to ``check``, and its diagnosis is compared with the key.

python -m tests.gradcheck.exam [NAME ...]      the whole table, or the rows of these names
python -m tests.gradcheck.exam --unseen        the second table, of which only the totals are shown

Exit status 1 if a total is lower than it was; for named rows, if one of them is not right.
"""

import sys
import time
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from funcnet import gradcheck
from tests.gradcheck.planted import PLANTED
from tests.gradcheck.planting import Planted
from tests.gradcheck.unseen import UNSEEN

LEAST = {"": (183, 183, 114), "--unseen": (32, 31, 21)}  # by the arguments: what the checker has reached


class Mark(NamedTuple):
    """How a diagnosis fared; ``line`` is None where no line is asked for."""

    caught: bool
    mistake: bool
    line: bool | None
    answer: str
    seconds: float


def examine(planted: Planted) -> Mark:
    """The verdict must be ``wrong``, the first finding's id one of the key's, its line the key's own.

    Where two mistakes are planted, the first finding must be either of them, and both must be found for the line.
    """
    start = time.perf_counter()
    try:
        report = gradcheck.check(planted.rule, dtypes=(), progress=False)
    except Exception as error:  # a row that breaks the checker is a row not caught
        return Mark(False, False, None if planted.line is None else False, repr(error), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    first = report.findings[0] if report.findings else None
    answer = "; ".join(f"{f.mistake} @ {f.source}" if f.source else f.mistake for f in report.findings)
    line = None
    if planted.two_at_once:
        line = {planted.line, planted.second_line} <= {finding.source for finding in report.findings}
    elif planted.line is not None:
        line = first is not None and first.source == planted.line
    named = first is not None and first.mistake in planted.mistakes
    return Mark(report.verdict == "wrong", named, line, answer or report.verdict, seconds)


def show_failures(marks: list[tuple[Planted, Mark]]) -> None:
    table = Table("row", "key", "answer", "s")
    for row, mark in marks:
        if not (mark.caught and mark.mistake and mark.line is not False):
            key = f"{' | '.join(row.mistakes)} @ {row.line}" if row.line else " | ".join(row.mistakes)
            table.add_row(row.name, key, mark.answer, f"{mark.seconds:.1f}")
    Console().print(table)


def totals(marks: list[tuple[Planted, Mark]]) -> dict[str, tuple[int, int]]:
    """{what: (right, asked)}."""
    asked = [mark for _, mark in marks if mark.line is not None]
    return {
        "caught": (sum(mark.caught for _, mark in marks), len(marks)),
        "first mistake right": (sum(mark.mistake for _, mark in marks), len(marks)),
        "line right": (sum(bool(mark.line) for mark in asked), len(asked)),
    }


def main(arguments: list[str]) -> int:
    unseen = arguments == ["--unseen"]
    rows = UNSEEN if unseen else [row for row in PLANTED if not arguments or row.name in arguments]
    marks = [(row, examine(row)) for row in track(rows, description="examining")]
    if not unseen:
        show_failures(marks)
    found = totals(marks)
    for what, (right, asked) in found.items():
        print(f"{what}: {right} of {asked}" + (f" ({right / asked:.0%})" if asked else ""))
    least = LEAST.get(" ".join(arguments), tuple(asked for _, asked in found.values()))
    return int(any(right < least for (right, _), least in zip(found.values(), least, strict=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
