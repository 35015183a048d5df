"""The forward as a graph, run again with the gradient through any edge scaled, or with wrong local derivatives.

An edge is an operand of an equation. Scaling what flows back through it, and nothing of what flows forward, tells
which part of the derivative goes that way.
"""

from __future__ import annotations

import math
from collections import ChainMap, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..engine.compiling import haste
from ..engine.jaxprs import Hooks, Line, Program, Step, counts, evaluate, program_of
from ..judge.reference import vjp
from .slips.operands import wrong_rules
from .slips.slip import WrongRule

CHUNK = 64  # so many rows are mapped over at once: memory is bounded, and one compilation serves any number of rows


class Edge(NamedTuple):
    """One operand of one equation of the forward, in program order, with the line that wrote it."""

    primitive: str
    operand: int
    line: Line
    literal: float | None
    in_loop: bool
    value: int
    only: str | None = None
    """Of an operand that is the same in every turn of a loop: in which turn alone the gradient flows where this, an
    edge of its own that follows the operand's, is scaled by 0."""


class Graph:
    """A traced forward: its edges, and its VJP with each of them scaled.

    ``shared``: edges that need one c together, and in whose c the VJP is not affine: those of a loop, and those that
    one position of the source stands for several times. ``rule``: the number of a wrong rule that is in force.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        floats: Sequence[Any],
        file: str | None,
        inline_custom: bool = True,
        rule: int | None = None,
    ):
        self.program = program_of(f, floats, file, inline_custom)
        self.rule = None if rule is None else wrong_rules(self.program)[rule]
        self.edges: list[Edge] = []
        self.numbers: dict[tuple[int, int], int] = {}
        self._number(self.program, frozenset(), in_loop=False)
        self.shared = [(i,) for i, edge in enumerate(self.edges) if edge.in_loop] + self._repeated()
        self._mapped = jax.jit(jax.vmap(self._vjps, (0, None, None)), compiler_options=haste())

    def vjps(self, rows: np.ndarray, dys: Sequence[Any], floats: Sequence[Any]) -> np.ndarray:
        """For each row, a scale for every edge: the VJP for all cotangents as one vector."""
        return _in_chunks(self._mapped, rows, 1.0, min(CHUNK, len(self.edges) + 1), dys, floats)

    def _vjps(self, scales, dys, floats):
        def operand(step, number, value, turn):
            edge = self.numbers.get((step.outs[0], number))
            if edge is None:
                return value
            scale = scales[edge]
            if turn is not None and edge + 1 < len(self.edges) and self.edges[edge + 1].only:
                first, last = turn
                scale = scale * jnp.where(first, 1, scales[edge + 1]) * jnp.where(last, 1, scales[edge + 2])
            return _scaled(value, scale)

        def result(number, env):
            if self.rule is None or self.rule.value != number:
                return env[number]
            return _bridged(env[number], self.rule.surrogate(ChainMap(env, later)), jnp.ones(()))

        later = {} if self.rule is None else _constants(self.program, floats)
        return _pulled(self.program, Hooks(operand, result), dys, floats)

    def _number(self, program: Program, fixed: frozenset[int], in_loop: bool) -> None:
        """Identical operands (c·c) are one edge; constants and integers are none."""
        for step in program.steps:
            for body in step.bodies:  # before its own operands: the line inside says more than that of the loop
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


class Misderived:
    """A traced forward in which the derivative of single steps can be exchanged for a wrong one."""

    def __init__(self, program: Program, chosen: Sequence[int]):
        found = wrong_rules(program)
        self.program = program
        self.rules: list[WrongRule] = [found[k] for k in chosen if k < len(found)]
        self._mapped = jax.jit(jax.vmap(self._vjps, (0, None, None)), compiler_options=haste())

    def vjps(self, dys: Sequence[Any], floats: Sequence[Any]) -> np.ndarray:
        """For each wrong rule the VJP for all cotangents as one vector."""
        rows = np.eye(len(self.rules))
        return _in_chunks(self._mapped, rows, 0.0, min(CHUNK, len(rows)), dys, floats)

    def _vjps(self, switches, dys, floats):
        at = defaultdict(list)
        for k, rule in enumerate(self.rules):
            at[rule.value].append((k, rule))

        def result(number, env):
            value, env = env[number], ChainMap(env, later)
            slopes = defaultdict(list)
            for k, rule in at[number]:
                if rule.slope is None:
                    value = _bridged(value, rule.surrogate(env), switches[k])
                else:
                    slopes[rule.start].append((switches[k], rule.slope(env)))
            for start, found in slopes.items():  # of all of them at most one is switched on: their sum is that one
                slope = sum(switch * slope for switch, slope in found)
                value = _bridged(value, slope * env[start], sum(switch for switch, _ in found))
            return value

        later = _constants(self.program, floats)
        return _pulled(self.program, Hooks(result=result), dys, floats)


def _constants(program: Program, floats: Sequence[Any]) -> dict[int, Any]:
    """Every float value outside loops that the program computes, by number, with no gradient to it."""
    found = {}

    def result(number, env):
        found[number] = lax.stop_gradient(env[number])
        return env[number]

    evaluate(program, [lax.stop_gradient(value) for value in floats], Hooks(result=result))
    own = [n for step in program.steps for n in step.outs if program.is_float(n)]
    return {n: found[n] for n in own}


def _in_chunks(mapped, rows: np.ndarray, rest: float, size: int, dys, floats) -> np.ndarray:
    filled = np.full((-len(rows) % size, rows.shape[1]), rest)
    padded = np.vstack([rows, filled])
    found = [np.asarray(mapped(padded[at : at + size], dys, floats)) for at in range(0, len(padded), size)]
    return np.concatenate(found)[: len(rows)]


def _pulled(program: Program, hooks: Hooks, dys: Sequence[Any], floats: Sequence[Any]):
    _, pull = vjp(lambda *values: evaluate(program, values, hooks), *floats)
    return jnp.concatenate([leaf.ravel() for dy in dys for leaf in pull(jax.tree.leaves(dy))])


@jax.custom_jvp
def _scaled(v, c):
    """v, with a gradient c times its own. (v + c·(v − stop_gradient(v)) would make NaN of infinity.)"""
    return v


@_scaled.defjvp
def _scaled_jvp(primals, tangents):
    v, c = primals
    return v, tangents[0] * c.astype(v.dtype)


@jax.custom_jvp
def _bridged(v, u, s):
    """v, with the gradient of u instead of its own where s is 1."""
    return v


@_bridged.defjvp
def _bridged_jvp(primals, tangents):
    v, _, s = primals
    s = s.astype(v.dtype)
    return v, (1 - s) * tangents[0] + s * tangents[1]


def _literal(step: Step, program: Program) -> float | None:
    """The constant by which a product, a quotient or a power scales the gradient; NaN where its value is not known."""
    if step.primitive == "integer_pow":
        return float(step.params["y"])
    if step.primitive not in ("mul", "div"):
        return None
    scalars = [program.constants[n] for n in step.ins if n in program.constants and not program.types[n].shape]
    known = [float(value) for value in scalars if not isinstance(value, jax.core.Tracer)]
    return known[0] if known else math.nan if any(not program.types[n].shape for n in step.ins) else None
