"""Gives rows of the table to ``check``, a process for each package, and says what became of each."""

import dataclasses
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Mapping

from tests.world.functions import FUNCTIONS
from tests.world.planted import PLANTED, Planted
from tests.world.published import Published

LIMIT = 120.0  # seconds for one row, with the import of its package


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one row. ``verdict`` is the checker's, or why there is none; ``text`` is the whole answer."""

    name: str
    package: str
    verdict: str
    expected: bool
    reference: str = ""
    sight: str = ""
    seconds: float = 0.0
    mistakes: tuple[str, ...] = ()
    text: str = ""

    @property
    def judged(self) -> bool:
        return self.verdict in ("correct", "wrong", "imprecise")


def examine(i: int, planted: bool = False, quick: bool = False) -> Outcome:
    """Checks row i of a table cold, with nothing compiled before. Never raises an Exception."""
    import jax  # here, so that a process that only waits for others does without

    from funcnet.gradcheck import check

    row = (PLANTED if planted else FUNCTIONS)[i]
    name, package = row.name, row.distribution
    try:
        f, arguments = row.load()
    except Exception as error:
        return Outcome(name, package, "not loaded", False, text=f"{type(error).__name__}: {error}")
    jax.clear_caches()
    since = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a package warns of is its own affair
            report = check(f, *arguments, quick=quick, name=name, progress=False, **row.settings)
    except Exception as error:  # the checker owes a verdict, or a reason why there is none
        text = f"{type(error).__name__}: {error}"
        return Outcome(name, package, "raised", False, seconds=time.perf_counter() - since, text=text)
    seconds = time.perf_counter() - since
    sight, expected = f"{report.sight:.0e}" if report.sight else "", row.as_expected(report)
    found = (report.reference, sight, seconds, report.mistakes, str(report))
    return Outcome(name, package, report.verdict, expected, *found)


def in_processes(work: Callable[[int], Outcome], rows: Mapping[int, Published | Planted]) -> Iterator[Outcome]:
    """``work(i)`` for each row i, in a process that is replaced for each package, and whenever it does not answer."""
    pool, package = None, ""
    for i, row in rows.items():
        if pool and row.distribution != package:
            pool.terminate()
            pool = None
        pool, package = pool or multiprocessing.get_context("spawn").Pool(1), row.distribution
        try:
            yield pool.apply_async(work, (i,)).get(LIMIT)
        except multiprocessing.TimeoutError:
            yield Outcome(row.name, row.distribution, "timed out", False, seconds=LIMIT)
            pool.terminate()
            pool = None
    if pool:
        pool.terminate()
