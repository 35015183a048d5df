"""The checker on published code: every row of ``functions.py`` is given to ``check`` as it is.

python -m tests.world [--only PART-OF-A-NAME ...] [--quick] [--json FILE]

Prints a row for each function, with the verdict and whether it is the one that the function deserves, then the totals.
Exit status 1 if a verdict is not as expected. A process for each package, and a time limit for each function.
"""

import argparse
import dataclasses
import functools
import json
import os
import sys
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

from tests.world.examine import Outcome, examine, in_processes
from tests.world.functions import FUNCTIONS

SLOW = 15.0  # seconds that no check may take


def show(outcomes: list[Outcome], console: Console) -> None:
    table = Table("function", "package", "verdict", "as expected", "reference", "sight", "s")
    for o in outcomes:
        cells = (o.name, o.package, o.verdict, "yes" if o.expected else "NO", o.reference, str(o.sight))
        table.add_row(*cells, f"{o.seconds:.1f}", style=None if o.expected else "bold red")
    console.print(table)
    known = {row.name for row in FUNCTIONS if row.wrong}
    alarms = [o for o in outcomes if o.verdict in ("wrong", "imprecise") and o.name not in known]
    found = [o for o in outcomes if o.verdict == "wrong" and o.name in known]
    console.print(
        f"{sum(o.judged for o in outcomes)} of {len(outcomes)} judged, {len(alarms)} false alarms, {len(found)} of "
        f"{sum(o.name in known for o in outcomes)} known bugs found, {sum(o.seconds > SLOW for o in outcomes)} over "
        f"{SLOW:.0f} s, {sum(not o.expected for o in outcomes)} not as expected"
    )
    packages = sorted({o.package for o in outcomes})
    console.print(", ".join(f"{package} {version(package)}" for package in packages))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.world", description="The checker on published code.")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="functions whose name has a part like this"
    )
    parser.add_argument("--quick", action="store_true", help="one set of inputs each")
    parser.add_argument("--json", metavar="FILE", help="the outcomes, with the whole reports")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before a worker imports jax
    rows = {i: row for i, row in enumerate(FUNCTIONS) if not asked.only or any(part in row.name for part in asked.only)}
    if not rows:
        parser.error("no function has such a name")
    console, outcomes = Console(width=None if sys.stdout.isatty() else 200), []
    for outcome in in_processes(functools.partial(examine, quick=asked.quick), rows):
        outcomes.append(outcome)
        console.print(f"{outcome.seconds:6.1f} s  {outcome.verdict:<12} {outcome.name}", highlight=False)
        if not outcome.expected:
            console.print(outcome.text, highlight=False, markup=False)
    show(outcomes, console)
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump([dataclasses.asdict(o) for o in outcomes], file, indent=1, default=str)
    return 0 if all(o.expected for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
