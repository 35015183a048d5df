"""The notes' worked numbers, and ours beside them.

Every number that the notes give or that follows from what they say, every shape and every law, computed with funcnet's
own functions; and two worked examples from elsewhere, CS231n's two-layer toy and Mazur's. Prints each beside what was
published, with the difference, which may be half a unit of the last published digit; writes metrics.json and
worked_examples.png. Exit status 1 if any is off.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from funcnet import data
from funcnet.data.idx import DataError
from funcnet.progress import step_progress

from . import examples, harness
from .examples.worked import Example, Row, example, work_out
from .pictures import agreement

MOST = 3  # numbers in a cell; of more the one that is furthest off is shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The seed draws the inputs of the laws; --quick takes every fourth example, and leaves MNIST alone."""


def chosen(config: Config) -> list[Example]:
    """All examples. MNIST's files are left out if they cannot be read, unless they were asked for."""
    if config.quick:
        return examples.EXAMPLES[::4]
    try:
        shapes = tuple(array.shape for array in data.mnist(config.data_dir))
    except (DataError, ImportError) as error:
        if config.data_dir is not None:
            raise
        print(f"001e is left out: MNIST cannot be read: {error}", file=sys.stderr)
        return examples.EXAMPLES

    @example("001e", "MNIST from its IDX files: the shapes")
    def mnist():
        return ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)), shapes

    return sorted([*examples.EXAMPLES, mnist], key=lambda worked: worked.item)


def cells(row: Row) -> list[str]:
    """Both sides: words, shapes, or numbers in as many digits as were published."""
    sides = [row.published, row.computed]
    if isinstance(row.published, str):
        return sides
    if isinstance(row.published, tuple):
        return [" ".join(str(part).replace(" ", "") for part in several(side)) for side in sides]
    if row.published.size <= MOST or row.published.shape != row.computed.shape:
        return [" ".join(number(value, row.decimals) for value in side.flat) for side in sides]
    apart = np.nan_to_num(np.abs(row.published - row.computed), nan=np.inf)
    at = np.unravel_index(np.argmax(apart), apart.shape)
    where = ",".join(map(str, at))
    return [f"[{where}] {number(side[at], row.decimals)}" for side in sides]


def several(shapes: tuple) -> tuple:
    """Several shapes as they are, and one as one of several."""
    return shapes if shapes and not isinstance(shapes[0], int) else (shapes,)


def number(value: float, decimals: int) -> str:
    return np.format_float_positional(value + 0, precision=decimals, trim="-")  # + 0, as −0 is no other number


def table(rows: list[Row]) -> Table:
    shown = Table(
        Column("item", no_wrap=True), Column("what", min_width=16), Column("published"), Column("funcnet"),
        Column("difference", no_wrap=True, min_width=11), box=None, pad_edge=False,
    )  # fmt: skip
    for row in rows:
        difference = f"{row.difference:.1e}" if row.difference else "0"
        shown.add_row(row.item, row.what, *cells(row), difference if row.agrees else f"{difference} OFF")
    return shown


def to_dict(row: Row) -> dict[str, Any]:
    """For metrics.json, which knows no infinity."""
    plain = row._asdict() | {"agrees": row.agrees}
    for key in ("published", "computed"):
        side = plain[key]
        if isinstance(side, np.ndarray):
            plain[key] = side.tolist() if np.isfinite(side).all() else side.astype(str).tolist()
    return plain | {"difference": row.difference if np.isfinite(row.difference) else None}


def main(config: Config, out: Path) -> None:
    width = max(80, min(120, shutil.get_terminal_size((100, 24)).columns))
    console = Console(width=width, highlight=False, markup=False)
    taken = chosen(config)
    every: list[Row] = []

    def run_one(seed: int) -> dict[str, Any]:
        rng, rows = np.random.default_rng(seed), []
        with step_progress("example", len(taken), lines=5) as report:
            for worked in taken:
                rows.append(work_out(worked, rng))
                report(worked.item)
        if not every:
            console.print(table(rows))
        every.extend(rows)
        return {"examples": len(rows), "agree": sum(row.agrees for row in rows), "rows": [to_dict(row) for row in rows]}

    results = harness.over_seeds(config, run_one)
    print("\nOf a table the number that is furthest off is shown, at its [row,column].")
    print(f"{sum(row.agrees for row in every)} of {len(every)} agree with what was published, to its last digit")
    picture = out / "worked_examples.png"
    agreement.draw(picture, every[: len(every) // config.seeds])
    harness.finish(out, "worked_examples", config, harness.summarise(results), picture)
    if off := [row for row in every if not row.agrees]:
        for row in off:
            print(f"off: {row.item}, {row.what}: {' is not '.join(reversed(cells(row)))}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    harness.run("worked_examples", main, Config, __doc__)
