"""Typical wrong answers to each exercise, and what a learner must be told of them.

A row is an edit of the solution's backward (what stands there once, and what instead) and, for each gradient that is
wrong, the mistakes that may be named; after @ the parts of lines that may be pointed at, if one must be. Alternatives
are parted by |, gradients by a semicolon. A gradient that is not in the row must be right. "if x is positive": the
answer is right under that condition alone.
"""

import importlib.util
import sys
from typing import NamedTuple

from funcnet.learn.answers import Pair
from funcnet.learn.hints import SAME, name_of, wrong_gradients
from funcnet.learn.index import HOME, SMALLER, exercise
from funcnet.learn.judge import Answer, answer_of
from tests.learn import wrong_first, wrong_layers, wrong_sequences


class Wrong(NamedTuple):
    exercise: str
    old: str
    new: str
    told: dict[str, tuple[list[str], list[str]]]
    """For each wrong gradient the mistakes and the parts of lines that are right."""


def _row(name: str, old: str, new: str, told: str) -> Wrong:
    expected = {}
    for part in told.split("; "):
        gradient, _, rest = part.partition(" ")
        ids, _, lines = rest.partition(" @ ")
        expected[gradient] = ids.split("|"), lines.split("|") if lines else []
    return Wrong(name, old, new, expected)


TABLES = {**wrong_first.WRONG, **wrong_layers.WRONG, **wrong_sequences.WRONG}
ROWS = [_row(name, *row) for name, rows in TABLES.items() for row in rows]


def pair_of(name: str, text: str, folder) -> Pair:
    """The forward and the backward of a learner's file with this text. Other exercises are imported as solved."""
    path = folder / f"{name}.py"
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(f"answer_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(HOME))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
        for need in exercise(name).needs:
            sys.modules.pop(need, None)
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


def answered(row: Wrong, folder) -> Answer:
    task = exercise(row.exercise)
    before, quotes, code = task.text.rpartition('"""')  # the code of the backward stands last
    assert code.count(row.old) == 1, (row.exercise, row.old, code.count(row.old))
    return answer_of(task, pair_of(row.exercise, before + quotes + code.replace(row.old, row.new), folder))


def said(answer: Answer) -> dict[str, tuple[str, str]]:
    """For each gradient with a finding the mistake that is named, and the line; a condition under the name if."""
    if answer.report is None:
        return {}
    found = {name_of(f): (f.mistake, f.source or "") for f in answer.report.findings}
    return found | dict.fromkeys(["if"] * bool(answer.report.conditions), (" and ".join(answer.report.conditions), ""))


def is_told(row: Wrong, answer: Answer) -> bool:
    """Whether the learner is told what the row asks for."""
    found = said(answer)
    if answer.report is None or not found or not found.keys() <= row.told.keys():
        return False
    named = all(
        mistake in row.told[name][0]
        and (mistake == "unexplained" or not row.told[name][1] or any(part in line for part in row.told[name][1]))
        for name, (mistake, line) in found.items()
    )
    if "if" in found:
        return named
    wrong = set(wrong_gradients(exercise(row.exercise).gradients, answer.report))
    fewer = row.exercise in SMALLER  # on two steps some that are wrong on three may be right
    return (
        named
        and wrong == row.told.keys()
        and all(name in found or fewer or _is_explained(name, answer) for name in wrong)
    )


def _is_explained(name: str, answer: Answer) -> bool:
    texts = [text for finding in answer.report.findings for text in finding.evidence if text.startswith(SAME)]
    return any(name in text.removeprefix(SAME).replace(",", "").split() for text in texts)
