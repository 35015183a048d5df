"""The teacher's key: forwards, and for each gradient what it is worth."""

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import gradcheck
from ..gradcheck.command.discovery import Found, TargetError, find, lone_forwards, opened
from ..gradcheck.engine.leaves import first_line, floats_of
from ..gradcheck.engine.width import in_float64
from ..gradcheck.judge import reference
from ..gradcheck.judge.form import cotangents_of
from ..gradcheck.judge.ladder import on_its_rung
from ..gradcheck.trial.draws import Drawn
from ..gradcheck.trial.subject import DIFFERENCES, Subject
from ..gradcheck.trial.targets import as_subject, with_inputs
from .stubs import with_stub

NAME = "POINTS"  # of a dict in the key


class KeyFault(ValueError):  # noqa: N818  (of the teacher's file, not of ours)
    """Nothing can be graded beside this key; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A forward of the key. ``subject`` is it with its own backward, if it has one.

    ``points`` by the names of its gradients, ``dx``; ``wanted`` the positions of the arguments that they are of.
    """

    name: str
    subject: Subject
    inputs: tuple[Any, ...]
    points: dict[str, float]
    wanted: tuple[int, ...]
    has_backward: bool
    derivation: str
    """The docstring of its backward."""

    def draws(self, seed: int) -> list[Drawn]:
        """Arguments and cotangents in float64."""
        with in_float64():
            drawn = gradcheck.draws(self.subject, *self.inputs, dtype=np.float64, seed=seed)
            return [Drawn(*jax.tree.map(_in_numpy, (d.args, d.dy))) for d in drawn]

    def value(self, args: tuple[Any, ...]) -> Any:
        """What the forward of the key gives."""
        with in_float64():
            return self.subject.fwd(*args)[0]

    def truth(self, args: tuple[Any, ...], dy: Any) -> dict[str, np.ndarray]:
        """The gradients: of the key's own backward, which is proven, or else by autodiff. Raises KeyFault."""
        with in_float64():
            if self.has_backward:
                _, saved = self.subject.fwd(*args)
                own = self.by_name(args, dict(zip(self.subject.arguments, self.subject.bwd(saved, dy), strict=False)))
                return {name: np.asarray(value) for name, value in own.items()}
            judged = on_its_rung(self.subject, args)
            names = [leaf.cotangent for leaf in judged.leaves(args)]
            try:
                if judged.reference == DIFFERENCES:
                    raise reference.NoReference(judged.notes[0])
                return dict(zip(names, reference.pull(judged.primal, args, [dy])[0], strict=True))
            except reference.NoReference as error:
                why = first_line(error)
                raise KeyFault(f"{self.name} needs a backward in the key: {why}") from None

    def by_name(self, args: tuple[Any, ...], gradients: Mapping[str, Any]) -> dict[str, Any]:
        """What is given for each argument, by the names of the gradients: anything, or None."""
        found: dict[str, Any] = {}
        for i in self.wanted:
            values = cotangents_of(gradients.get(self.subject.arguments[i]), args[i])
            leaves = jax.tree_util.tree_leaves_with_path(args[i])
            values = values if len(values) == len(leaves) else [None] * len(leaves)
            for (path, leaf), value in zip(leaves, values, strict=True):
                if floats_of(leaf):
                    found[f"d{self.subject.arguments[i]}{jax.tree_util.keystr(path)}"] = value
        return found


def _in_numpy(leaf: Any) -> Any:
    return np.asarray(leaf) if hasattr(leaf, "dtype") else leaf


@contextlib.contextmanager
def opened_key(path: Path, seed: int, timeout: float) -> Iterator[list[Task]]:
    """The tasks of a key, each proven. Raises KeyFault."""
    with contextlib.ExitStack() as stack:
        try:
            module, _ = stack.enter_context(opened(str(path)))
            found = [item for item in find(module) if item.target is not None]
        except TargetError as error:
            raise KeyFault(f"--key {error}") from None
        forwards = [item for item in lone_forwards(module) if item.name not in {other.name for other in found}]
        tasks = [_task(item, True, seed, timeout) for item in found]
        tasks += [_task(item, False, seed, timeout) for item in forwards]
        if not tasks:
            raise KeyFault(f"--key {path} has no forward: write X_forward, and X_backward if it is to be proven too")
        yield _weighed(tasks, getattr(module, NAME, {}), path)


def _task(item: Found, has_backward: bool, seed: int, timeout: float) -> Task:
    target = item.target if has_backward else with_stub(item.target)
    try:
        subject, inputs = with_inputs(as_subject(target, item.name, item.inputs), item.inputs)
        if has_backward:
            _prove(item, seed, timeout)
        with in_float64():
            args = gradcheck.draws(subject, *inputs, dtype=np.float64, seed=seed)[0].args
            subject = subject.taking(len(args))
            wanted = _wanted(subject, args, has_backward)
    except gradcheck.InputError as error:
        raise KeyFault(f"{item.name} of the key cannot be run: {first_line(error)}") from None
    names = [leaf.cotangent for leaf in subject.leaves(args) if subject.arguments.index(leaf.argument) in wanted]
    doc = inspect.getdoc(getattr(item.target, "bwd", None) or getattr(item.target, "backward", None)) or ""
    task = Task(
        item.name, subject, inputs, dict.fromkeys(names, 1.0), wanted, has_backward, doc if has_backward else ""
    )
    if not has_backward:
        task.truth(*task.draws(seed)[0])
    return task


def _prove(item: Found, seed: int, timeout: float) -> None:
    report = gradcheck.check(
        item.target, *item.inputs, name=item.name, quick=True, dtypes=(), seed=seed, timeout=timeout, progress=False
    )
    if not report:
        why = [str(finding) for finding in report.findings] or list(report.notes)
        raise KeyFault(f"{item.name} of the key is {report.verdict}: {'; '.join(why)}")


def _wanted(subject: Subject, args: tuple[Any, ...], has_backward: bool) -> tuple[int, ...]:
    """The arguments with floats; those of the key's backward alone, if it gives None for some."""
    moving = [i for i, arg in enumerate(args) if i not in subject.static and floats_of(arg)]
    if has_backward:
        y, saved = subject.fwd(*args)
        got = subject.bwd(saved, jax.tree.map(np.ones_like, y))
        moving = [i for i in moving if got[i] is not None]
    return tuple(moving)


def _weighed(tasks: list[Task], points: Any, path: Path) -> list[Task]:
    """The tasks with the points that the key gives, by ``softmax.dx``. Raises KeyFault."""
    known = [f"{task.name}.{gradient}" for task in tasks for gradient in task.points]
    if not isinstance(points, Mapping):
        raise KeyFault(f"{NAME} of {path} is a dict such as {{{known[0]!r}: 2}}; got {points!r:.60}")
    for name, worth in points.items():
        if name not in known:
            raise KeyFault(f"{NAME} of {path} names {name!r:.60}; there are: {', '.join(known)}")
        if isinstance(worth, bool) or not isinstance(worth, int | float) or not 0 <= worth < math.inf:
            raise KeyFault(f"{NAME}[{name!r}] of {path} is a number of points, at least 0; got {worth!r:.40}")
    return [
        dataclasses.replace(
            task, points={g: float(points.get(f"{task.name}.{g}", worth)) for g, worth in task.points.items()}
        )
        for task in tasks
    ]
