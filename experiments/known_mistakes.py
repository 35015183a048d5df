"""Published mistakes, found and named.

Introductions to neural networks "from scratch" get gradients wrong. Here each mistake stands as it was published beside
the gradient that is right, and the checker judges both: it must call the right one correct, and must not call the
other so. Prints what it says of each, one report in full, and writes metrics.json and known_mistakes.png: every element
of the wrong gradients against the right one. Exit status 1 if any verdict or name is not what it must be.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Column, Table

from funcnet import gradcheck
from funcnet.gradcheck import Finding, Report
from funcnet.progress import step_progress

from . import harness, mistakes
from .mistakes import Published
from .pictures import gradients

LINES_IN = "experiments/mistakes/"
IN_FULL = "batch_norm_variance_constant"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The seed draws the checker's inputs; --quick takes three mistakes only."""


class Judged(NamedTuple):
    """The verdicts on both, and the wrong gradient beside the right one, on the checker's own inputs."""

    entry: Published
    right: Report
    published: Report
    got: np.ndarray
    expected: np.ndarray
    seconds: float

    @property
    def as_it_must(self) -> bool:
        return self.right.verdict == "correct" and self.published.verdict == self.entry.verdict

    @property
    def finding(self) -> Finding | None:
        return next(iter(self.published.findings), None)

    @property
    def named(self) -> bool:
        """Whether the first finding is the mistake that was made, and the line that it was made on."""
        return (self.mistake, self.finding and self.finding.source) == (self.entry.mistake, self.entry.line)

    @property
    def mistake(self) -> str:
        return self.finding.mistake if self.finding else "none"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.entry.name,
            "where": self.entry.where,
            "what": self.entry.what,
            "right_verdict": self.right.verdict,
            "verdict": self.published.verdict,
            "mistake": self.mistake,
            "line": self.finding.line if self.finding else None,
            "source": self.finding.source if self.finding else None,
            "as_it_must": self.as_it_must,
            "named": self.named,
            "seconds": self.seconds,
            "findings": [finding.to_dict() for finding in self.published.findings],
        }


def some() -> list[Published]:
    """Three: a mistake on a line, one on none, and one of precision."""
    return mistakes.GALLERY[2::8]


def judge(entry: Published, seed: int) -> Judged:
    """Both backwards through the checker, and both on its first inputs, for the picture."""
    start = time.perf_counter()
    right = gradcheck.check(entry.right, *entry.inputs, seed=seed)
    published = gradcheck.check(entry.wrong, *entry.inputs, seed=seed, name=entry.name)
    seconds = time.perf_counter() - start
    argument = published.findings[0].argument if published.findings else ""
    names = list(inspect.signature(entry.right.fwd).parameters)
    i = names.index(argument) if argument in names else 0
    with jax.enable_x64(True):
        dtype = jnp.float32 if entry.verdict == "imprecise" else jnp.float64
        args, dy = gradcheck.draws(entry.right, *entry.inputs, seed=seed, dtype=dtype)[0]
        _, residuals = entry.right.fwd(*args)
        got, expected = (np.asarray(bwd(residuals, dy)[i], np.float64).ravel() for bwd in (entry.bwd, entry.right.bwd))
    return Judged(entry, right, published, got, expected, seconds)


def table(judged: list[Judged]) -> Table:
    line_too = Column("mistake, and the line it is on", no_wrap=True, overflow="ellipsis", max_width=44)
    shown = Table(Column("found in", min_width=9), Column("what was published", min_width=30), "verdict", line_too)
    shown.box, shown.pad_edge = None, False
    for row in judged:
        line = f"\n{row.finding.line}: {row.finding.source}" if row.finding and row.finding.source else ""
        where = row.entry.where if row.entry.where == "tutorials" else f"note {row.entry.where}"
        shown.add_row(where, row.entry.what, row.published.verdict, row.mistake + line)
    return shown


def in_full(judged: list[Judged]) -> str:
    """The forward, what was derived from it, and what the checker says of that."""
    row = next((row for row in judged if row.entry.name == IN_FULL), judged[-1])
    forward, backward = (inspect.getsource(f) for f in (row.entry.right.fwd, row.entry.bwd))
    backward = backward[backward.index("def ") :]  # without the decorator, which says what is wrong
    return f"One in full, {row.entry.what}:\n\n{forward}\n\n{backward}\n{row.published}"


def run_one(seed: int, entries: list[Published], show: Callable[[list[Judged]], None]) -> dict[str, Any]:
    judged = []
    with step_progress("mistake", len(entries)) as report:
        for entry in entries:
            judged.append(judge(entry, seed))
            report(f"{entry.name}: {judged[-1].published.verdict}, {judged[-1].mistake}")
    show(judged)
    return {
        "mistakes": len(judged),
        "verdicts_right": sum(row.as_it_must for row in judged),
        "mistakes_named": sum(row.named for row in judged),
        "entries": [row.to_dict() for row in judged],
    }


def main(config: Config, out: Path) -> None:
    entries = some() if config.quick else mistakes.GALLERY
    picture = out / "known_mistakes.png"
    console = Console(width=min(100, shutil.get_terminal_size((100, 24)).columns), highlight=False, markup=False)
    wrong: list[str] = []

    def show(judged: list[Judged]) -> None:
        console.print(table(judged))
        console.print(f"\nLines are those of the forwards, in {LINES_IN}.\n\n{in_full(judged)}", soft_wrap=True)
        for row in judged:
            if not (row.as_it_must and row.named):
                wrong.append(f"{row.entry.name}: {row.published}\n  and the right one: {row.right}")
        gradients.draw(picture, [(row.mistake, row.entry.what, row.got, row.expected) for row in judged])

    results = harness.over_seeds(config, lambda seed: run_one(seed, entries, show))
    figures = harness.summarise(results)
    total = len(entries) * len(results)
    verdicts, named = (sum(result[key] for result in results) for key in ("verdicts_right", "mistakes_named"))
    print(f"\n{verdicts} of {total}: the published one is caught, and the right one beside it is found correct")
    print(f"{named} of {total}: the mistake is named as a person would name it, with its line")
    harness.finish(out, "known_mistakes", config, figures, picture)
    if wrong:
        print("\n".join(["not as it must be:", *wrong]), file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    harness.run("known_mistakes", main, Config, __doc__)
