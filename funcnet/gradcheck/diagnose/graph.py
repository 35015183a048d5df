"""The forward as a graph, run again with the gradient through any edge scaled.

An edge is an operand of an equation. Scaling the gradient that flows back through it, and nothing that flows forward,
shows which part of the derivative goes that way.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.compiling import haste
from ..engine.jaxprs import Hooks, Line, Program, Step, counts, evaluate
from ..engine.leaves import is_float, is_traced
from ..judge.reference import vjp
from ..tolerances import CHUNK
from ..watch import at

Result = Callable[[int, dict[int, Any]], Any]  # Hooks.result


class Edge(NamedTuple):
    """One operand of one equation of the forward, in program order, with the line that wrote it."""

    primitive: str
    operand: int
    line: Line
    literal: float | None
    in_loop: bool
    value: int
    only: str | None = None
    """If an operand is the same in every turn of a loop, two more edges follow its own, "first" and "last": scaling one
    by 0 leaves the gradient of that turn alone."""


class Graph:
    """A program, its edges, and its VJP with each edge scaled.

    ``shared``: groups of edges that have one factor together: an edge of a loop, and the edges that one position of the
    source stands for several times. The VJP is not affine in their factor.
    ``results``: the hook for results at given inputs, for a program with a slip in force.
    """

    def __init__(self, program: Program, results: Callable[[Sequence[Any]], Result] | None = None):
        self.program, self.results = program, results
        self.edges: list[Edge] = []
        self.numbers: dict[tuple[int, int], int] = {}
        self._number(program, frozenset(), in_loop=False)
        self.shared = [(i,) for i, edge in enumerate(self.edges) if edge.in_loop] + self._repeated()
        self.vjps = mapped_vjps(program, self._hooks, 1.0, len(self.edges) + 1)
        """For each row, a factor for every edge: the VJP for all cotangents as one vector."""

    def _hooks(self, scales: Any, floats: Sequence[Any]) -> Hooks:
        def operand(step, number, value, turn):
            edge = self.numbers.get((step.outs[0], number))
            if edge is None:
                return value
            scale = scales[edge]
            if turn is not None and edge + 1 < len(self.edges) and self.edges[edge + 1].only:
                first, last = turn
                scale = scale * jnp.where(first, 1, scales[edge + 1]) * jnp.where(last, 1, scales[edge + 2])
            return _scaled(value, scale)

        return Hooks(operand, self.results(floats) if self.results else None)

    def _number(self, program: Program, fixed: frozenset[int], in_loop: bool) -> None:
        """Numbers the edges. Identical operands (c·c) are one edge; constants and integers are none."""
        for step in program.steps:
            for body in step.bodies:  # before its own operands: a line inside says more than the line of the loop
                if step.primitive == "scan":
                    self._number(body, frozenset(body.inputs[: counts(step)[0]]), in_loop=True)
                else:
                    self._number(body, frozenset(), in_loop)
            operands = [n for n in dict.fromkeys(step.ins) if program.is_float(n) and n not in program.constants]
            for n in operands:
                edge = Edge(step.primitive, step.ins.index(n), step.line, _literal(step, program), in_loop, n)
                self.numbers[step.outs[0], n] = len(self.edges)
                self.edges.append(edge)
                if n in fixed:
                    self.edges += [edge._replace(only="first"), edge._replace(only="last")]

    def _repeated(self) -> list[tuple[int, ...]]:
        places = defaultdict(list)
        for i, edge in enumerate(self.edges):
            if not edge.only:
                places[edge.line.place, edge.primitive, edge.operand].append(i)
        return [tuple(group) for group in places.values() if len(group) > 1]


def mapped_vjps(
    program: Program, hooks: Callable[[Any, Sequence[Any]], Hooks], padding: float, most: int
) -> Callable[[np.ndarray, Sequence[Any], Sequence[Any]], np.ndarray]:
    """A function of (rows, dys, floats): for each row, the VJP under ``hooks(row, floats)`` as one vector.

    It is compiled once, for ``most`` rows or CHUNK; the last chunk is filled up with ``padding``.
    """

    def vjps(row, dys, floats):
        _, pull = vjp(lambda *values: evaluate(program, values, hooks(row, floats)), *floats)
        leaves = [jax.tree.leaves(dy) for dy in dys]

        def pulled(moving):
            filled = iter(moving)
            return jnp.concatenate([d.ravel() for d in pull([next(filled) if is_float(d) else d for d in leaves[0]])])

        # mapped, and not called for each dy: there is half as much to compile
        return jax.vmap(pulled)([jnp.stack(same) for same in zip(*leaves, strict=True) if is_float(same[0])]).ravel()

    mapped = jax.jit(jax.vmap(vjps, (0, None, None)), compiler_options=haste())
    size = min(CHUNK, most)

    def in_chunks(rows: np.ndarray, dys: Sequence[Any], floats: Sequence[Any]) -> np.ndarray:
        padded = np.vstack([rows, np.full((-len(rows) % size, rows.shape[1]), padding)])
        found = []
        for first in range(0, len(padded), size):
            at()
            found.append(np.asarray(mapped(padded[first : first + size], dys, floats)))
        return np.concatenate(found)[: len(rows)]

    return in_chunks


@jax.custom_jvp
def _scaled(v, c):
    """v, with a gradient c times its own. (v + c·(v − stop_gradient(v)) would make NaN of infinity.)"""
    return v


@_scaled.defjvp
def _scaled_jvp(primals, tangents):
    v, c = primals
    return v, tangents[0] * c.astype(v.dtype)


def _literal(step: Step, program: Program) -> float | None:
    """The constant by which a product, a quotient or a power scales the gradient; NaN if its value is not known."""
    if step.primitive == "integer_pow":
        return float(step.params["y"])
    if step.primitive not in ("mul", "div"):
        return None
    scalars = [program.constants[n] for n in step.ins if n in program.constants and not program.types[n].shape]
    known = [float(value) for value in scalars if not is_traced(value)]
    return known[0] if known else math.nan if any(not program.types[n].shape for n in step.ins) else None
