"""A published mistake: the wrong backward, under a decorator that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from funcnet import Rule
from funcnet.gradcheck import Verdict


class Published(NamedTuple):
    """A backward as it was published, and what the checker should say of it.

    ``where``: the number of the note, or "tutorials" for what many copy.
    ``right``: the forward, and the backward that is right. ``mistake``: the id that fits; ``line``: the forward's line
    that it is on, stripped, or None. ``inputs``: arrays to check at, if it does not show at ordinary ones.
    """

    where: str
    what: str
    right: Rule
    bwd: Callable[..., Any]
    mistake: str
    line: str | None
    inputs: tuple[Any, ...]
    verdict: Verdict

    @property
    def name(self) -> str:
        return self.bwd.__name__

    @property
    def wrong(self) -> Rule:
        return Rule(self.right.fwd, self.bwd)


def published(
    where: str,
    what: str,
    right: Rule,
    mistake: str,
    line: str | None = None,
    inputs: tuple[Any, ...] = (),
    verdict: Verdict = "wrong",
) -> Callable[[Callable[..., Any]], Published]:
    """Turns the backward below it into an entry of the gallery."""
    return lambda bwd: Published(where, what, right, bwd, mistake, line, inputs, verdict)
