"""The campaign against false alarms: right backwards of well-known functions, which ``check`` must not blame.

python -m tests.gradcheck.false_alarms [--quick] [NAME ...]      all functions, or those of these names

Each backward is computed another way than by ``jax.vjp``: by forward mode, or by a closed formula. Each is checked at
three sets of shapes in four dtypes; ``--quick`` takes one set and float32. Exit status 1 on any false alarm.
"""

import sys
import time
from typing import NamedTuple

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from funcnet import gradcheck
from funcnet.progress import step_progress
from tests.gradcheck.right import RIGHT, Right

QUICK = (jnp.float32,)


class Outcome(NamedTuple):
    """What ``check`` said of one function at one set of shapes; ``reasons`` are empty where it said ``correct``."""

    verdict: str
    reasons: tuple[str, ...]
    ulps: float

    @property
    def alarm(self) -> bool:
        return self.verdict not in ("correct", "inconclusive")


def outcome(right: Right, shapes: str, dtypes=(jnp.float32, jnp.bfloat16, jnp.float16)) -> Outcome:
    """One check; an exception is an alarm too."""
    try:
        report = gradcheck.check(right.rule, *shapes.split(", "), dtypes=dtypes, name=right.name)
    except Exception as error:
        return Outcome("raised", (f"{type(error).__name__}: {error}",), 0.0)
    ulps = max((worst for modes in report.ulps.values() for worst in modes.values()), default=0.0)
    reasons = () if report.verdict == "correct" else tuple(map(str, (*report.findings, *report.notes)))
    return Outcome(report.verdict, reasons, ulps)


def outcomes(right: Right, quick: bool = False) -> list[Outcome]:
    """A check for every set of shapes, or the middle one in float32 alone."""
    if quick:
        return [outcome(right, right.shapes[1], QUICK)]
    return [outcome(right, shapes) for shapes in right.shapes]


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("-")]
    rows = [right for right in RIGHT if not names or right.name in names]
    table, counts, reasons = Table("function", "verdicts", "worst ulps", "s"), dict[str, int](), []
    with step_progress("function", len(rows)) as report:
        for right in rows:
            start = time.perf_counter()
            found = outcomes(right, "--quick" in arguments)
            seconds = time.perf_counter() - start
            for shapes, one in zip(right.shapes if len(found) > 1 else right.shapes[1:], found, strict=False):
                counts[one.verdict] = counts.get(one.verdict, 0) + 1
                reasons += [f"{right.name} [{shapes}]: {one.verdict}: {reason}" for reason in one.reasons]
            verdicts = " ".join(one.verdict for one in found)
            table.add_row(right.name, verdicts, f"{max(one.ulps for one in found):.3g}", f"{seconds:.1f}")
            report(f"{right.name}: {verdicts}")
    Console().print(table)
    print(*reasons, sep="\n")
    print(f"{len(rows)} functions: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return int(any(verdict not in ("correct", "inconclusive") for verdict in counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
