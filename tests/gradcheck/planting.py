"""What a planted mistake is, and how one is written: a wrong backward under a decorator that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from funcnet.types import Rule

PATH_MISTAKES = (
    "path-lost",
    "sign-flipped",
    "counted-twice",
    "wrong-scale",
    "missing-mean-divisor",
    "extra-mean-divisor",
)

# Mistakes that no wrong backward shows in float64, and one that is named only where a forward cannot be read as a
# jaxpr: tests/experiments/kernels plants it.
NOT_PLANTABLE = (
    "extra-all-reduce",  # tests/gradcheck/collectives.py plants these, on several devices
    "missing-all-reduce",
    "wrong-axis-all-reduce",
    "low-precision-accumulation",
    "primal-mismatch",
    "compiler-disagrees",
    "nondeterministic",
    "part-left-out",
)


class Planted(NamedTuple):
    """A rule whose backward is wrong, and what a right diagnosis says.

    ``mistakes``: the ids that may be named first. Where two mistakes are planted at once they are the pair, in the
    order of ``line`` and ``second_line``, and ``note`` begins with "two at once".
    ``line``: the forward's line that must be named, stripped; None where no line is asked for.
    """

    name: str
    rule: Rule
    mistakes: tuple[str, ...]
    line: str | None
    note: str
    second_line: str | None = None

    @property
    def two_at_once(self) -> bool:
        return self.note.startswith("two at once")


def plant(
    rule: Rule, *mistakes: str, line: str | None = None, note: str = "", second_line: str | None = None
) -> Callable[[Callable], Planted]:
    """Turns the wrong backward below it into a ``Planted`` on the forward of ``rule``; its name is the function's."""

    def planted(bwd: Callable) -> Planted:
        return Planted(bwd.__name__, Rule(rule.fwd, bwd), mistakes, line, note, second_line)

    return planted
