"""Marks of a student's backwards, from arrays alone.

The student's process is asked for gradients at arguments and cotangents drawn here. What it returns is compared here,
and the checker runs here, with that process as an oracle in place of a backward.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .. import gradcheck
from ..gradcheck.judge.probe import errors_in_units
from ..gradcheck.report import Finding, Report
from ..gradcheck.trial.subject import Subject
from ..learn.hints import Rung, name_of, told
from ..streams import one_line
from .key import Task
from .papers import Paper
from .process import Child, Ended, Nursery

PARTIAL = 0.5  # of the points of a gradient that lacks the path through one line, and is right otherwise
GRADED = "graded"


class Fault(Exception):  # noqa: N818  (of the student's code)
    """The student's code gave no gradients; ``status`` says in a word or two why."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a gradient earned. ``verdict``: right, partly right, wrong, or no gradient."""

    gradient: str
    points: float
    out_of: float
    verdict: str


@dataclasses.dataclass(frozen=True)
class Marked:
    """A task of a student. ``status``: graded, or how it ended. ``said``: comments, at a chosen level of hint."""

    task: str
    status: str
    marks: tuple[Mark, ...]
    said: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Graded:
    """All of a student. ``printed``: the last lines that their code printed; ``remarks``: lines to look at."""

    student: str
    tasks: tuple[Marked, ...]
    printed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        return next((task.status for task in self.tasks if task.status != GRADED), GRADED)

    @property
    def points(self) -> float:
        return sum(mark.points for task in self.tasks for mark in task.marks)

    @property
    def out_of(self) -> float:
        return sum(mark.out_of for task in self.tasks for mark in task.marks)


@dataclasses.dataclass(frozen=True)
class How:
    """``hints``: the level of the comments, 0 to 4."""

    hints: int
    seed: int
    timeout: float


class Grader:
    """Grades one student after another; a task that ends the process gets a new one for the next."""

    def __init__(self, tasks: list[Task], nursery: Nursery, how: How):
        self.tasks, self.nursery, self.how = tasks, nursery, how

    def grade(self, paper: Paper, remarks: list[str], is_last: bool = False) -> Graded:
        if paper.refused:
            return Graded(paper.student, tuple(_none(task, "not read", paper.refused) for task in self.tasks))
        left, done, printed = list(self.tasks), list[Marked](), list[str]()
        while left:
            child = self.nursery.child(more=not is_last)
            try:
                self._with(child, paper, left, done)
            finally:
                printed += child.end()
        return Graded(paper.student, tuple(done), tuple(printed[-20:]), tuple(remarks))

    def _with(self, child: Child, paper: Paper, left: list[Task], done: list[Marked]) -> None:
        """Moves tasks from ``left`` to ``done``, until there are no more or the process has ended."""
        try:
            names, errors = _names(child.begin(paper.files))
        except Ended as ended:
            done += (_none(task, ended.status, ended.reason) for task in left)
            left.clear()
        while left:
            task = left.pop(0)
            try:
                child.left = self.how.timeout
                done.append(self._marked(task, child, names, errors, paper))
            except Ended as ended:
                done.append(_none(task, ended.status, ended.reason))
                return

    def _marked(
        self, task: Task, child: Child, names: dict[str, tuple[int, str]], errors: list[str], paper: Paper
    ) -> Marked:
        called = task.name.lower()
        halves = (left_out for name, (_, left_out) in names.items() if left_out and called in name)
        number, left_out = names.get(called) or (-1, next(halves, ""))
        if number < 0 or left_out:
            status = "cannot be run" if errors or left_out else "not found"
            reason = "; ".join(errors) or left_out or f"there is no {task.name} with a forward and a backward"
            return _none(task, status, reason)
        oracle = Oracle(task, child, number)
        try:
            agree, different = self._compared(task, oracle)
        except Fault as fault:
            return _none(task, fault.status, str(fault))
        report = oracle.report(self.how)
        marks = tuple(_mark(name, of, agree.get(name), report) for name, of in task.points.items())
        return Marked(task.name, GRADED, marks, tuple(self._said(task, report, marks, different, paper)))

    def _compared(self, task: Task, oracle: "Oracle") -> tuple[dict[str, bool | None], bool]:
        """Whether each gradient is right on every draw, None if there is none but zeros; and whether y is another."""
        agree: dict[str, bool | None] = dict.fromkeys(task.points, True)
        different = False
        for args, dy in task.draws(self.how.seed):
            y, gradients = oracle.ask(args, dy)
            expected = task.value(args)
            different |= not _same_values(y, expected)
            truth, got = task.truth(args, dy), task.by_name(args, gradients)
            for name in task.points:
                if agree[name] is not None:
                    value = got.get(name)
                    given = value is not None and (np.any(value) or not np.any(truth[name]))
                    agree[name] = bool(agree[name]) and _same(value, truth[name]) if given else None
        return agree, different

    def _said(self, task: Task, report: Report, marks: tuple[Mark, ...], different: bool, paper: Paper) -> Rung:
        lines = [f"{mark.gradient}: {mark.verdict}" for mark in marks if mark.verdict != "right"]
        if different:
            lines.append(f"the forward of {task.name} gives another value than the key's; gradients are of the key's")
        if not lines and report:
            return []
        texts = "\n".join(map(paper.text, paper.files))
        file = next(iter(paper.files))
        rungs = told(list(task.points), report, file, paper.text(file) if len(paper.files) == 1 else texts)
        if len(paper.files) > 1:  # a number of a line would be of all files together
            rungs = [[line.replace(f"{file}:", "line ") for line in rung] for rung in rungs]
        derivation = [["the key's derivation:", *task.derivation.splitlines()]] if task.derivation else []
        shown = [] if report else [*rungs, *[[]] * (3 - len(rungs)), *derivation][: self.how.hints]
        return [*lines, *(line for rung in shown for line in rung)]


class Oracle:
    """A student's process in place of a backward: it is asked, and what it returns is taken for numbers."""

    def __init__(self, task: Task, child: Child, number: int):
        self.task, self.child, self.number = task, child, number

    def ask(self, args: tuple[Any, ...], dy: Any) -> tuple[Any, Mapping[str, Any]]:
        """The value, and gradients by the names of the key's arguments. Raises Fault, and Ended."""
        names = list(self.task.subject.arguments[: len(args)])
        asked = {"number": self.number, "arguments": names, "args": tuple(args), "dy": dy}
        answer = self.child.ask(asked)
        answer = answer if isinstance(answer, dict) else {}
        for kind, status in (("autodiff", "used autodiff"), ("error", "cannot be run")):
            if isinstance(said := answer.get(kind), str):
                raise Fault(status, one_line(said))
        gradients = answer.get("gradients")
        if not isinstance(gradients, dict):
            raise Ended("no answer", "its process wrote what is no answer")
        return answer.get("y"), gradients

    def report(self, how: How) -> Report:
        """What the checker says of the gradients, beside the key's forward. Raises Ended."""
        own = self.task.subject

        def fwd(*args: Any) -> tuple[Any, Any]:
            return own.fwd(*args)[0], lambda: args

        def bwd(saved: Any, dy: Any) -> tuple[Any, ...]:
            args = saved()
            _, gradients = self.ask(args, dy)
            return tuple(gradients.get(name) for name in own.arguments[: len(args)])

        judged: Subject = own._replace(
            fwd=fwd, bwd=bwd, primal_is="other code", none_is_zero=True, in_numpy=True, notes=()
        )  # fmt: skip
        return gradcheck.check(
            judged, *self.task.inputs, argnums=self.task.wanted, quick=True, dtypes=(), seed=how.seed,
            timeout=how.timeout, progress=False,
        )  # fmt: skip


def _names(found: Any) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """The number and, if it is left out, the reason, by name; and the files that cannot be imported. Raises Ended."""
    try:
        rows = [(str(name).lower(), one_line(str(left_out))) for name, left_out in found["found"]]
        errors = [one_line(str(error)) for error in found["errors"]]
    except (TypeError, KeyError, ValueError) as error:
        raise Ended("no answer", "its process wrote what is no answer") from error
    names: dict[str, tuple[int, str]] = {}
    for number, (name, left_out) in enumerate(rows):
        if name not in names or names[name][1]:
            names[name] = (number, left_out)
    return names, errors


def _none(task: Task, status: str, reason: str) -> Marked:
    marks = tuple(Mark(name, 0.0, of, "no gradient") for name, of in task.points.items())
    return Marked(task.name, status, marks, (reason,))


def _mark(name: str, of: float, agrees: bool | None, report: Report) -> Mark:
    """The points of a gradient: all if it is right, none if it is wrong.

    A share if the checker finds that it lacks just one path, or that it is wrong at special inputs alone.
    """
    if agrees is None:
        return Mark(name, 0.0, of, "no gradient")
    own = [finding for finding in report.findings if name_of(finding) in (name, "the backward")]
    if not own and (agrees or report or report.worst.get(name.removeprefix("d"), np.inf) <= 1):
        return Mark(name, of, of, "right")
    if agrees or _lacks_a_path(own or list(report.findings)):
        return Mark(name, PARTIAL * of, of, "partly right")
    return Mark(name, 0.0, of, "wrong")


def _lacks_a_path(findings: list[Finding]) -> bool:
    return len({finding.line for finding in findings}) == 1 and all(f.mistake == "path-lost" for f in findings)


def _same(got: Any, truth: np.ndarray) -> bool:
    got = np.asarray(got)
    if got.dtype.kind not in "fiu" or got.shape != truth.shape:
        return False
    return errors_in_units([got], [truth])[0] <= 1


def _same_values(y: Any, expected: Any) -> bool:
    one, other = jax.tree.leaves(y), jax.tree.leaves(expected)
    return len(one) == len(other) and all(
        np.shape(a) == np.shape(b) and np.asarray(a).dtype.kind in "biuf" and np.allclose(a, b, 1e-5, 1e-6)
        for a, b in zip(one, other, strict=True)
    )
