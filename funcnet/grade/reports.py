"""What becomes of marks: a table, a CSV, and JSON for each student, also as Gradescope reads it."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from .marking import GRADED, Graded, How

TABLE = "grades.csv"


class OutError(ValueError):
    """The reports cannot be written there; the message is one line."""


def may_be_written(folder: Path) -> None:
    """Raises OutError unless it is a folder, or may be made one, that holds nothing but reports."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutError(f"--out {folder} is no folder")
    names = {path.name for path in folder.iterdir()}
    if any(not name.endswith(".json") for name in names - {TABLE}) or (names and TABLE not in names):
        raise OutError(f"--out {folder} holds other files; give a new folder, or one with reports")


def written(folder: Path, graded: Sequence[Graded], how: How, gradescope: bool) -> list[Path]:
    """Writes all reports, and returns where they are. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [write_whole(folder / TABLE, table(graded))]
    for one in graded:
        found.append(write_whole(folder / f"{one.student}.json", _text(document(one, how))))
        if gradescope:
            found.append(write_whole(folder / f"{one.student}.results.json", _text(results(one))))
    return found


def _text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def table(graded: Sequence[Graded]) -> str:
    """A row a student: points, out of how many, status, and a column a gradient."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    names = [f"{task.task}.{mark.gradient}" for task in graded[0].tasks for mark in task.marks]
    rows.writerow(["student", "points", "out of", "status", *names])
    for one in graded:
        points = [f"{mark.points:g}" for task in one.tasks for mark in task.marks]
        rows.writerow([_cell(one.student), f"{one.points:g}", f"{one.out_of:g}", one.status, *points])
    return stream.getvalue()


def _cell(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def document(one: Graded, how: How) -> dict[str, Any]:
    """A student's marks as JSON can hold them."""
    return {
        "student": one.student,
        "status": one.status,
        "points": one.points,
        "out_of": one.out_of,
        "seed": how.seed,
        "tasks": [dataclasses.asdict(task) for task in one.tasks],
        "remarks": list(one.remarks),
        "printed": list(one.printed),
    }


def results(one: Graded) -> dict[str, Any]:
    """The same in the form of Gradescope's results.json: a test a gradient."""
    tests = [
        {
            "name": f"{task.task}.{mark.gradient}",
            "score": mark.points,
            "max_score": mark.out_of,
            "status": "passed" if mark.points == mark.out_of else "failed",
            "output": "\n".join(task.said) or mark.verdict,
        }
        for task in one.tasks
        for mark in task.marks
    ]
    said = f"{one.points:g} of {one.out_of:g} points" + ("" if one.status == GRADED else f"; {one.status}")
    return {"score": one.points, "output": said, "tests": tests}
