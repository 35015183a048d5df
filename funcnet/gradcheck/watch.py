"""The clock of one check: at which stage it is, whether its time is over, and a line of progress on standard error.

No threads and no signals: the walk calls ``at`` between its stages, and wherever else it may stop.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

PATIENCE, BETWEEN = 2.0, 5.0  # seconds before the first line of progress, and, in a pipe, from one line to the next


class OutOfTime(BaseException):
    """The time of a check is over. ``known``: what ``at`` was last told. ``before``: the stages that are not done."""

    def __init__(self, known: Any, before: Sequence[str]):
        super().__init__()
        self.known, self.before = known, before


class _Watch:
    def __init__(self, name: str, timeout: float | None, shown: bool):
        self.name, self.timeout, self.shown = name, timeout, shown
        self.since = self.last = time.monotonic()
        self.known: Any = None
        self.ahead = [""]
        self.line = False

    def at(self, stages: Sequence[str], known: Any) -> None:
        self.ahead, self.known = list(stages) or self.ahead, self.known if known is None else known
        seconds = time.monotonic() - self.since
        if self.timeout is not None and seconds > self.timeout:
            raise OutOfTime(self.known, self.ahead)
        if self.shown and seconds >= PATIENCE:
            self._show(f"check {self.name}: {self.ahead[0]}, {seconds:.0f} s")

    def _show(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{text:.78}", end="", file=sys.stderr, flush=True)
            self.line = True
        elif not self.last > self.since or time.monotonic() - self.last >= BETWEEN:
            print(text, file=sys.stderr, flush=True)
            self.last = time.monotonic()

    def end(self) -> None:
        if self.line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


_WATCH: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(name: str, timeout: float | None, shown: bool) -> Iterator[None]:
    """A clock for all that runs inside: ``timeout`` in seconds, and progress if it is to be ``shown``.

    pytest is shown none.
    """
    watch = _Watch(name, timeout, shown and "PYTEST_CURRENT_TEST" not in os.environ)
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)
        watch.end()


def at(*stages: str, known: Any = None) -> None:
    """The walk is at the first of ``stages``, and the others lie ahead; with none, it is where it was.

    ``known``: what there is to report if time runs out from here on. Raises OutOfTime if it has run out.
    """
    if watch := _WATCH.get():
        watch.at(stages, known)
