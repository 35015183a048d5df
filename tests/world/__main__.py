"""The checker on published code: every row of ``functions.py`` is given to ``check`` as it is.

python -m tests.world [--only PART-OF-A-NAME ...] [--quick] [--json FILE]
python -m tests.world --planted    the mistakes of ``planted.py`` instead: caught, and named as they should be

Prints a row for each function, with the verdict and whether it is the one that the function deserves, then the totals.
Exit status 1 if a total is worse than it has to be. A process for each package, and a time limit for each function.
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
from tests.world.planted import PLANTED

SLOW = 15.0  # seconds that no check may take
NAMED = 17  # of the planted mistakes must be named


def show(outcomes: list[Outcome], planted: bool, console: Console) -> bool:
    """Prints the table and the totals; says whether they are as they have to be."""
    table = Table("function", "package", "verdict", "as expected", "first named", "reference", "sight", "s")
    for o in outcomes:
        named = o.mistakes[0] if o.mistakes else ""
        cells = (o.name, o.package, o.verdict, "yes" if o.expected else "NO", named, o.reference, o.sight)
        table.add_row(*cells, f"{o.seconds:.1f}", style=None if o.expected else "bold red")
    console.print(table)
    packages = sorted({o.package for o in outcomes})
    console.print(", ".join(f"{package} {version(package)}" for package in packages))
    expected = sum(o.expected for o in outcomes)
    if planted:
        caught, crashes = sum(o.verdict == "wrong" for o in outcomes), sum(o.verdict == "raised" for o in outcomes)
        console.print(f"of {len(outcomes)} planted mistakes {caught} caught, {expected} named, {crashes} crashes")
        return caught == len(outcomes) and not crashes and expected >= min(NAMED, len(outcomes))
    known = {row.name for row in FUNCTIONS if row.wrong}
    judged, slow = sum(o.judged for o in outcomes), sum(o.seconds > SLOW for o in outcomes)
    alarms = sum(o.verdict in ("wrong", "imprecise") and o.name not in known for o in outcomes)
    bugs = [o for o in outcomes if o.name in known]
    found = sum(o.verdict == "wrong" for o in bugs)
    console.print(
        f"of {len(outcomes)} functions {judged} judged, {alarms} false alarms, {found} of {len(bugs)} known bugs "
        f"found, {slow} over {SLOW:.0f} s, {len(outcomes) - expected} not as expected"
    )
    return expected == len(outcomes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.world", description="The checker on published code.")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="functions whose name has a part like this"
    )
    parser.add_argument("--planted", action="store_true", help="planted mistakes, not the functions as they are")
    parser.add_argument("--quick", action="store_true", help="one set of inputs each")
    parser.add_argument("--third", type=int, choices=(1, 2, 3), help="of the rows, so that processes can share them")
    parser.add_argument("--json", metavar="FILE", help="the outcomes, with the whole reports")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before a worker imports jax
    rows = {
        i: row
        for i, row in enumerate(PLANTED if asked.planted else FUNCTIONS)
        if not asked.only or any(part in row.name for part in asked.only)
    }
    if asked.third:
        rows = {i: row for i, row in rows.items() if i % 3 == asked.third % 3}
    if not rows:
        parser.error("no function has such a name")
    console, outcomes = Console(width=None if sys.stdout.isatty() else 200), []
    for outcome in in_processes(functools.partial(examine, planted=asked.planted, quick=asked.quick), rows):
        outcomes.append(outcome)
        console.print(f"{outcome.seconds:6.1f} s  {outcome.verdict:<12} {outcome.name}", highlight=False)
        if not outcome.expected:
            console.print(outcome.text, highlight=False, markup=False)
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump([dataclasses.asdict(o) for o in outcomes], file, indent=1, default=str)
    return 0 if show(outcomes, asked.planted, console) else 1


if __name__ == "__main__":
    sys.exit(main())
