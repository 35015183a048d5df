"""What the checker says of a learner's answer. It runs in a process of its own."""

import dataclasses
import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import gradcheck
from ..gradcheck.command.discovery import Found
from ..gradcheck.command.worker import Asked, Checked
from ..gradcheck.engine.leaves import first_line
from ..gradcheck.report import Report
from .answers import Fault, Pair, arguments, as_homework, blaming, place, run_backward, run_forward
from .index import DRAWN, SMALLER, Exercise, exercise
from .networks import NETWORKS, train

CHANGED = "another value than the exercise's forward; put it back, or begin with a fresh file by --again"


class Answer(NamedTuple):
    """What there is to say of a learner's file.

    ``unwritten``: its backward is still to be written. ``refused``: the line that says why it cannot be judged.
    Else there is a ``report`` of the checker's.
    """

    report: Report | None = None
    unwritten: bool = False
    refused: str = ""
    said: tuple[str, ...] = ()
    """What there is to say of a right answer."""

    @property
    def is_right(self) -> bool:
        """Whether the derivation is proven, on no condition."""
        return self.report is not None and self.report.verdict == "correct" and not self.report.conditions


def judge(data_dir: str | None, item: Found, asked: Asked, given: Any = None) -> Checked:
    """Judges the pair of a learner's file, as the exercise of its name, for the checker's ``command/worker.py``.

    If it is right and a network, that is trained; ``data_dir``: see ``networks.train``.
    """
    start = time.perf_counter()
    answer = answer_of(exercise(item.name), item.target, asked.timeout)
    if answer.is_right and item.name in NETWORKS:
        answer = answer._replace(said=(*answer.said, _trained(data_dir, item)))
    return Checked(item.name, "judged", answer, time.perf_counter() - start)


def _trained(data_dir: str | None, item: Found) -> str:
    """What became of the network, or why it could not be trained."""
    try:
        return train(item.name, sys.modules[item.target.fwd.__module__], data_dir)
    except Exception as error:
        return f"it could not be trained: {first_line(error)}"


def answer_of(task: Exercise, pair: Pair, timeout: float | None = None) -> Answer:
    """Judges a pair (forward, backward) beside the exercise's own forward."""
    judged = (task.forward, as_homework(task, pair))
    wanted = tuple(i for i, name in enumerate(arguments(task)) if f"d{name}" in task.gradients)
    drawn = DRAWN.get(task.name, {})
    try:
        with jax.enable_x64(True):
            args, dy = gradcheck.draws(judged, dtype=np.float64, **drawn)[0]
            _try_once(task, pair, args, dy)
    except NotImplementedError:
        return Answer(unwritten=True)
    except Fault as fault:
        return Answer(refused=str(fault))
    how: dict[str, Any] = {"name": task.name, "argnums": wanted, "quick": True, "dtypes": (), "timeout": timeout}
    report = gradcheck.check(judged, **drawn, **how, progress=False)
    if task.name in SMALLER and _vague(report):
        smaller = gradcheck.check(judged, **drawn | {"sizes": SMALLER[task.name]}, **how, progress=False)
        if smaller.verdict == "wrong" and _vague(smaller) < _vague(report):
            report = dataclasses.replace(report, findings=smaller.findings)
    return Answer(report, said=(_proven(task, report),) if report else ())


def _vague(report: Report) -> int:
    """How many gradients are wrong without a reason."""
    return sum(finding.mistake == "unexplained" for finding in report.findings)


def _proven(task: Exercise, report: Report) -> str:
    """On what a right answer was tried, and how close it was."""
    verb = "agree" if len(task.gradients) > 1 else "agrees"
    worst = max(report.worst.values(), default=0.0)
    return (
        f"{', '.join(task.gradients)} {verb} with autodiff in float64 on {report.probes[0].partition(' normal')[0]}; "
        f"the largest error is {worst:.1g} times what rounding may do"
    )


def _try_once(task: Exercise, pair: Pair, args: Any, dy: Any) -> None:
    """Runs the learner's pair, so that what it raises is said in its own words. Raises Fault."""
    args, dy = jax.tree.map(lambda leaf: np.array(leaf), (args, dy))
    forward, backward = pair
    with blaming(forward), np.errstate(all="ignore"):
        y, cache = run_forward(forward, args)
        expected, _ = run_forward(task.forward, args)
        if not _same(y, expected):
            raise Fault(f"{place(forward)} gives {CHANGED}")
        run_backward(task, backward, args, cache, dy)


def _same(got: Any, expected: Any) -> bool:
    """Whether two results agree, up to rounding in float32."""
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    shapes = [np.shape(a) for a in got] == [np.shape(b) for b in expected]
    return shapes and all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(got, expected, strict=True))
