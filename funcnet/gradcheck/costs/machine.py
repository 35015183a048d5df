"""What the compiler says of a program, and how long it takes: both for this machine, compiled as a user has it."""

import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from .passes import Passes

REPEATS, SECONDS = 31, 2.0  # timed runs of each program, and when to stop before that; one run is always timed


class Compiled(NamedTuple):
    """Forward and backward as one compiled program. None: this backend does not say."""

    run: Any
    temporary_bytes: int | None
    argument_bytes: int | None
    result_bytes: int | None
    flops: float | None


class Seconds(NamedTuple):
    """The median of the timed runs, and their quartiles."""

    median: float
    low: float
    high: float


def compiled(passes: Passes, arrays: Sequence[Any]) -> Compiled:
    """The program of y and the cotangents, compiled with the default options."""
    found = jax.jit(passes.run).lower(arrays, passes.dys).compile()
    memory: Any = found.memory_analysis()
    temporary, given, made = (getattr(memory, f"{what}_size_in_bytes", None) for what in ("temp", "argument", "output"))
    costs: Any = found.cost_analysis()
    return Compiled(lambda: found(arrays, passes.dys), temporary, given, made, (costs or {}).get("flops"))


def timed(programs: Sequence[Compiled]) -> list[Seconds]:
    """The times of each program: they run in turn, so that all meet the same machine."""
    for program in programs:
        jax.block_until_ready(program.run())
    begun, runs = time.perf_counter(), [list[float]() for _ in programs]
    for turn in range(REPEATS):
        if turn and time.perf_counter() - begun > SECONDS * len(programs):
            break
        for own, program in zip(runs, programs, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program.run())
            own.append(time.perf_counter() - start)
    return [_summary(own) for own in runs]


def _summary(runs: list[float]) -> Seconds:
    low, median, high = statistics.quantiles(runs, n=4, method="inclusive") if len(runs) > 1 else runs * 3
    return Seconds(median, low, high)
