"""``funcnet grade``: students' files, marked beside a teacher's key."""

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from ..streams import plain
from .common import CommandError, guarded, number, show

DESCRIPTION = """\
Marks the backwards that students wrote, beside the forwards of a key: points for each gradient that is right, half of
them if it lacks the path through one line, and comments. SUBMISSIONS is a folder with a file or a folder for each
student; functions, classes and rules are found as `funcnet check` finds them, by the names that they have in the key.
Each student's code runs in a process of its own, with limits and without autodiff. Its word counts for nothing: it is
asked for gradients at random arrays, and these are compared here.
Exit status: 0 all were graded; 1 some could not be, wholly or in part; 2 bad input."""


def add_grade(subparsers: Any) -> None:
    """Adds ``grade`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "grade", help="grade homework of a class", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=guarded(grade))
    add = command.add_argument
    add("submissions", metavar="SUBMISSIONS", help="a folder with STUDENT.py, or a folder of files, for each student")
    add("--key", metavar="FILE.py", required=True, help="the forwards, perhaps with backwards, which are proven first; "
        'points by POINTS = {"softmax.dx": 2} (default: 1 a gradient)')  # fmt: skip
    add("--out", metavar="DIR", help="for grades.csv and STUDENT.json (default: a table on the terminal alone)")
    add("--hints", type=number(0, most=4), default=2, metavar="0..4", help="of comments on what is wrong: 1 an "
        "element, 2 the kind of mistake, 3 the line, 4 the derivation of the key (default: 2)")  # fmt: skip
    add("--gradescope", action="store_true", help="STUDENT.results.json too, as Gradescope reads it; needs --out")
    add("--seed", type=number(0), metavar="N", help="of the arrays (default: another one at each run)")
    add("--timeout", type=number(1, float), default=60.0, metavar="S", help="seconds for each task of a student "
        "(default: 60)")  # fmt: skip
    add("--memory", type=number(1, float), default=2048.0, metavar="MIB", help="of a student's arrays (default: 2048)")
    add("--json", action="store_true", help="one JSON document on standard output, nothing else")


def grade(arguments: argparse.Namespace) -> int:
    from ..grade.key import KeyFault, opened_key
    from ..grade.marking import GRADED, How
    from ..grade.papers import PapersError, papers
    from ..grade.reports import OutError, document, may_be_written, written

    folder, key, out = Path(arguments.submissions), Path(arguments.key), arguments.out and Path(arguments.out)
    if arguments.gradescope and not out:
        raise CommandError("--gradescope needs --out")
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    how = How(arguments.hints, seed, arguments.timeout)
    try:
        if out:
            may_be_written(out)
        if not key.is_file() or key.suffix != ".py":
            raise KeyFault(f"--key {key} is no file of Python")
        found, others = papers(folder, key)
        with opened_key(key, seed, arguments.timeout) as tasks:
            graded = _graded(tasks, found, how, arguments.memory)
    except (KeyFault, PapersError, OutError) as error:
        raise CommandError(str(error)) from None
    if others:
        print(plain(f"funcnet grade: left out, as they are not Python: {', '.join(others)}")[:1000], file=sys.stderr)
    if out:
        written(out, graded, how, arguments.gradescope)
    if arguments.json:
        print(json.dumps({"key": str(key), "seed": seed, "students": [document(one, how) for one in graded]}, indent=2))
    else:
        _show(graded, out)
    return int(any(one.status != GRADED for one in graded))


def _graded(tasks: list[Any], found: list[Any], how: Any, memory: float) -> list[Any]:
    from ..grade.marking import Grader
    from ..grade.papers import remarks
    from ..grade.process import Nursery
    from ..progress import step_progress

    nursery = Nursery(how.timeout, memory, len(tasks))
    grader = Grader(tasks, nursery, how)
    graded = []
    try:
        with step_progress("grade", len(found)) as report:
            for place, paper in enumerate(found, 1):
                graded.append(grader.grade(paper, remarks(paper), place == len(found)))
                report(plain(f"{paper.student}: {graded[-1].points:g} of {graded[-1].out_of:g}"))
    finally:
        nursery.close()
    return graded


def _show(graded: list[Any], out: Path | None) -> None:
    """The table, then what there is to say of each student that is not wholly right."""
    rows = [(one.student, f"{one.points:g} of {one.out_of:g}", one.status) for one in graded]
    show("student", "points", "status", rows=rows)
    for one in graded:
        said = [f"  {task.task}: {line}" for task in one.tasks for line in task.said]
        said += [f"  look at {line}" for line in one.remarks]
        print(*["", *map(plain, [one.student, *said])] * bool(said), sep="\n", end="\n" * bool(said))
    if out:
        print(f"\n{out} has grades.csv and a file for each student")
