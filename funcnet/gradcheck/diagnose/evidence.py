"""The probes that share a program as one vector, and the groups of leaves that are explained together."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ..engine.jaxprs import Line, Program, program_of
from ..engine.leaves import Leaf, is_float
from ..judge import reference
from ..judge.probe import Probe
from ..report import Finding
from ..trial.subject import Subject


class Evidence:
    """The cotangents of a backward (``got``) and the right ones (``ref``), over all probes, cotangents and leaves.

    ``leaf`` is the number of the leaf that each entry belongs to. The probes differ in floats alone.
    """

    def __init__(self, subject: Subject, probes: Sequence[Probe]):
        self.subject, self.probes = subject, probes
        traced = [reference.of_floats(subject.primal, p.draw.args) for p in probes]
        self.f, self.floats = traced[0][0], [floats for _, floats in traced]
        self.got, self.ref = (_vector([row for p in probes for row in getattr(p, side)]) for side in ("gots", "refs"))
        self.leaf = _vector([[np.full(r.size, i) for i, r in enumerate(row)] for p in probes for row in p.refs])

    def program(self, inline_custom: bool = True) -> Program:
        """The forward as a program, with the lines of the file it is written in."""
        return _program(self.subject, self.f, self.floats[0], inline_custom)

    def vjps(self, vjps: Callable[..., np.ndarray], rows: np.ndarray) -> np.ndarray:
        """``vjps(row, dys, floats)`` for every row, over all probes as one vector."""
        found = [vjps(rows, p.dys, floats) for p, floats in zip(self.probes, self.floats, strict=True)]
        return np.concatenate(found, axis=1)


def _program(subject: Subject, f: Callable[..., Any], floats: Sequence[Any], inline_custom: bool = True) -> Program:
    code = getattr(subject.lines or subject.source, "__code__", None)
    return program_of(f, floats, code.co_filename if code else None, inline_custom)


def _vector(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.concatenate([leaf.ravel() for row in rows for leaf in row] or [np.zeros(0)])


def together_then_alone(left: list[int]) -> Iterator[list[int]]:
    """All leaves together, as one mistake may spoil several; then each alone, if the caller has not removed it."""
    everything = list(left)
    yield everything
    yield from ([i] for i in everything if len(everything) > 1 and i in left)


def finding_at(
    line: Line, leaves: Sequence[Leaf], mistake: str, text: str, factor: float | None = None, axis: str | None = None
) -> Finding:
    """A finding for the first of these leaves that shows the line, and names the others as evidence."""
    evidence = (f"the same explains {', '.join(leaf.cotangent for leaf in leaves[1:])}",) if leaves[1:] else ()
    return Finding(*leaves[0], mistake, text, factor, axis, line.file, line.number, line.text, evidence)


def placed(finding: Finding, line: Line | None) -> Finding:
    """The finding with a line of the forward, if there is one."""
    return dataclasses.replace(finding, file=line.file, line=line.number, source=line.text) if line else finding


PASSING = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "copy", "convert_element_type"}
)


def line_of_use(subject: Subject, args: tuple[Any, ...], i: int, primitives: Collection[str] = ()) -> Line | None:
    """The one line that uses leaf ``i`` in these primitives, or in any if none are named; None if there are several.

    What only gives a leaf another shape is no use of it. None also if the forward looks at values.
    """
    try:
        program = _program(subject, *reference.of_floats(subject.primal, args))
    except jax.errors.JAXTypeError:
        return None
    lines = {line[:2]: line for line in _uses(program, {program.inputs[i]}, primitives)}
    return next(iter(lines.values())) if len(lines) == 1 else None


def _uses(program: Program, names: set[int], primitives: Collection[str]) -> Iterator[Line]:
    for step in program.steps:
        if names.isdisjoint(step.ins):
            continue
        for body in step.bodies:
            inside = zip(step.ins[-len(body.inputs) :], body.inputs, strict=True)
            yield from _uses(body, {m for n, m in inside if n in names}, primitives)
        if step.primitive in PASSING:
            names |= set(step.outs)
        elif not step.bodies and (step.primitive in primitives or not primitives):
            yield step.line


def by_shape(probes: Sequence[Probe]) -> tuple[list[Probe], list[Probe]]:
    """The probes that differ from the first in floats alone; and the others, except any with an axis of size 1."""
    same = [p for p in probes if p.draw.sizes == probes[0].draw.sizes and _fixed(p) == _fixed(probes[0])]
    return same, [p for p in probes[len(same) :] if all(size > 1 for size in p.draw.sizes.values())]


def _fixed(p: Probe) -> list[int]:
    """Integers, masks and keys, which the program of a forward holds as constants, by identity."""
    return [id(leaf) for leaf in jax.tree.leaves(p.draw.args) if not is_float(leaf)]
