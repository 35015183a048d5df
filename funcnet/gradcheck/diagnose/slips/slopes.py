"""Slips in a slope: of one elementwise function, of one written out over several lines, of a whole Jacobian."""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from ...engine.jaxprs import Program, Step, evaluate
from ...tolerances import LARGEST_JACOBIAN, NEAREST, REACH
from .slip import (
    ELEMENTWISE,
    LEFT_OUT,
    SMOOTH,
    Env,
    Slip,
    before,
    differentiable,
    finite_or_zero,
    results_of_lines,
    stopped,
)

# A slope written in terms of the output, such as y(1 − y) for the sigmoid, to which the input may have been given.
AT_OUTPUT: dict[str, list[Callable[[Any], Any]]] = {
    "tanh": [lambda y: 1 - y * y],
    "logistic": [lambda y: y * (1 - y)],
    "exp": [lambda y: y, lambda y: y * (1 - y), lambda y: 1 - y * y, lambda y: 1 - jnp.exp(-y)],
    "log1p": [lambda y: 1 - jnp.exp(-y)],
    "sqrt": [lambda y: 0.5 / y],
    "rsqrt": [lambda y: -0.5 * y**3],
}
# The same with a part of the slope left out, or with its sign wrong.
PARTS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "tanh": [
        ("missing-factor", lambda y: 1 - y),
        ("missing-factor", lambda y: y * y),
        ("sign-flipped", lambda y: 1 + y * y),
    ],
    "logistic": [("missing-factor", lambda y: y), ("missing-factor", lambda y: 1 - y)],
    "exp": [("missing-factor", lambda y: y), ("missing-factor", lambda y: 1 - y)],
}


def function_slips(step: Step, program: Program) -> Iterator[Slip]:
    """One elementwise function: its slope is left out, or taken at the wrong place."""
    kept = differentiable(step, program)
    if step.primitive in SMOOTH and len(kept) == 1:
        yield from _wrong_slopes([step], step.ins[kept[0]], step.outs[0], program)


def _wrong_slopes(steps: list[Step], start: int, end: int, program: Program) -> Iterator[Slip]:
    """The slopes that ``end`` as a function of ``start`` may have been given."""
    primitives = {step.primitive for step in steps}

    def slip(mistake: str, slope: Callable[[Env], Any]) -> Slip:
        return Slip(mistake, end, steps[-1].line, start=start, slope=lambda env: finite_or_zero(slope(env)))

    def at_output(env: Env) -> Any:
        y = stopped(env[end])
        _, slope = jax.jvp(_replayed(steps, start, end, env, program.types), (y,), (jnp.ones_like(y),))
        return stopped(slope)

    yield slip("missing-factor", lambda env: jnp.ones_like(env[end]))
    for mistake, part in (part for name, parts in PARTS.items() if name in primitives for part in parts):
        yield slip(mistake, lambda env, part=part: part(stopped(env[end])))  # type: ignore[misc]
    if primitives & (SMOOTH - {"abs"}):
        yield slip("derivative-at-output", at_output)
    for slope in (slope for name, known in AT_OUTPUT.items() if name in primitives for slope in known):
        yield slip("derivative-at-input", lambda env, slope=slope: slope(stopped(env[start])))  # type: ignore[misc]


def _replayed(steps: list[Step], start: int, end: int, env: Env, types: dict[int, Any]) -> Callable[[Any], Any]:
    """The value ``end`` as a function of the value ``start`` alone; all other values are constants."""
    results = {n for step in steps for n in step.outs}
    outside = {n: stopped(env[n]) for step in steps for n in step.ins if n in env and n not in results and n != start}
    program = Program((start,), (end,), outside, steps, types)
    return lambda value: evaluate(program, [value])[0]


# ---------------------------------------------------------------- several lines


def composite_slips(program: Program) -> Iterator[Slip]:
    """Functions that are written out over several steps, from one line's result to another's of the same shape."""
    for start, end, steps in _composites(program):
        if all(step.primitive in ELEMENTWISE for step in steps):
            if any(step.primitive in SMOOTH for step in steps):
                yield from _wrong_slopes(steps, start, end, program)
        else:
            yield _diagonal(steps, start, end, program)


def left_out_slips(program: Program) -> Iterator[Slip]:
    """The same functions, if they are not elementwise, without their Jacobian."""
    for start, end, steps in _composites(program, reach=len(program.steps)):
        if not all(step.primitive in ELEMENTWISE for step in steps):
            yield Slip("missing-factor", end, steps[-1].line, operator.itemgetter(start), LEFT_OUT)


def _composites(program: Program, reach: int = REACH) -> Iterator[tuple[int, int, list[Step]]]:
    """Start, end and steps of every function of several steps between the results of two lines of the same shape."""
    made_by = {n: step for step in program.steps for n in step.outs}
    ends = results_of_lines(program)
    for end in ends:
        for start, steps in _ways_back(end, {*program.inputs, *ends}, made_by, program, reach):
            if len(steps) > 1:  # function_slips sees to the others
                yield start, end, steps


def _ways_back(
    end: int, starts: set[int], made_by: dict[int, Step], program: Program, reach: int
) -> Iterator[tuple[int, list[Step]]]:
    """Every value of ``starts`` with the shape of ``end`` that leads to it, and the steps between, in program order."""
    leading = before(end, made_by, program, reach)
    for start in sorted({n for step in leading for n in step.ins} & starts):
        if start == end or program.types[start] != program.types[end]:
            continue
        depends, steps = {start}, []
        for step in leading:
            if depends & set(step.ins):
                depends |= set(step.outs)
                steps.append(step)
        if end in depends:
            yield start, steps


def _diagonal(steps: list[Step], start: int, end: int, program: Program) -> Slip:
    def slope(env: Env) -> Any:
        x = stopped(env[start])
        f = _replayed(steps, start, end, env, program.types)
        rows = jax.vmap(lambda e: jax.jvp(f, (x,), (e.reshape(x.shape),))[1].ravel())(jnp.eye(x.size, dtype=x.dtype))
        return finite_or_zero(stopped(jnp.diag(rows).reshape(x.shape)))

    # one that is too large to be tried counts all the same: slips have the same numbers at all sizes
    tried = slope if math.prod(program.types[end].shape) <= LARGEST_JACOBIAN else None
    return Slip("jacobian-diagonal-only", end, steps[-1].line, start=start, slope=tried)


# ---------------------------------------------------------------- a line's result as a factor


def value_slips(program: Program) -> list[Slip]:
    """The gradient of one line's result, divided or multiplied by the result of another line that fits its shape.

    Such is the y in front of softmax's bracket, or the norm that everything is divided by.
    """
    lines = {n: step.line for step in program.steps for n in step.outs}
    moving = set(program.inputs)  # a constant, such as a one-hot of the labels, is no factor of a derivative
    for step in program.steps:
        moving |= set(step.outs) if moving & set(step.ins) else set()
    near = {
        (distance, v, w)
        for distance, v, w in _pairs(program, lines)
        if w in moving and _fits(program.types[w].shape, program.types[v].shape)
    }
    text = "lacks the value of this line as a factor, or has it once too often"
    found = []
    for _, v, w in sorted(near)[:NEAREST]:
        for power in (-1, 1):

            def slope(env: Env, w: int = w, power: int = power) -> Any:
                return finite_or_zero(stopped(env[w]) ** power)

            found.append(Slip("missing-factor", v, lines[w], text=text, start=v, slope=slope))
    return found


def _pairs(program: Program, lines: dict[int, Any]) -> Iterator[tuple[int, int, int]]:
    """A distance, a value, and another that may be a factor of its gradient."""
    named = results_of_lines(program)
    yield from ((1 + abs(i - j), v, w) for i, v in enumerate(named) for j, w in enumerate(named) if v != w)
    for step in program.steps:  # an operand of a product or a quotient, or a slope that is a value, though unnamed
        if step.primitive in ("mul", "div"):
            yield from (
                (0, v, w) for v in named if lines[v][:2] == step.line[:2] for w in step.ins if w in lines and w != v
            )
        elif step.primitive in AT_OUTPUT:
            yield from ((2, v, step.outs[0]) for v in named if v != step.outs[0])


def _fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Whether an array of more than one element can be broadcast to the other's shape, and has its rank."""
    sizes = list(zip(shape, into, strict=False))
    return len(shape) == len(into) and math.prod(shape) > 1 and all(a in (1, b) for a, b in sizes)
