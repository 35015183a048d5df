"""Wrong slopes: of one elementwise function, of one that is written out over several lines, of a whole Jacobian."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from ...engine.jaxprs import Hooks, Program, Step, evaluate
from .slip import ELEMENTWISE, SMOOTH, Env, WrongRule, differentiable, finite, stopped

REACH = 16  # steps of an elementwise function that is written out: a gelu has ten
NEAREST = 40  # pairs of lines, one's result being a factor of the other's gradient
LARGEST_JACOBIAN = 400  # entries of a value whose Jacobian is written out for its diagonal


# A slope written in terms of the output, y(1 − y) for the sigmoid, as somebody may have given the input to it.
AT_OUTPUT: dict[str, list[Callable[[Any], Any]]] = {
    "tanh": [lambda y: 1 - y * y],
    "logistic": [lambda y: y * (1 - y)],
    "exp": [lambda y: y, lambda y: y * (1 - y), lambda y: 1 - y * y, lambda y: 1 - jnp.exp(-y)],
    "log1p": [lambda y: 1 - jnp.exp(-y)],
    "sqrt": [lambda y: 0.5 / y],
    "rsqrt": [lambda y: -0.5 * y**3],
}
# The same with a part of the slope left out, or its sign wrong.
PARTS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "tanh": [
        ("missing-factor", lambda y: 1 - y),
        ("missing-factor", lambda y: y * y),
        ("sign-flipped", lambda y: 1 + y * y),
    ],
    "logistic": [("missing-factor", lambda y: y), ("missing-factor", lambda y: 1 - y)],
    "exp": [("missing-factor", lambda y: y), ("missing-factor", lambda y: 1 - y)],
}
TEXTS = {
    "missing-factor": "lacks the slope of this line, or a factor of it",
    "derivative-at-output": "has the slope of this line at its result, where that at its operand is due",
    "derivative-at-input": "has a slope written for the result of this line, given its operand",
    "sign-flipped": "has a sign wrong within the slope of this line",
    "jacobian-diagonal-only": "keeps only the diagonal of the Jacobian of this line",
}


def slopes(step: Step, program: Program) -> Iterator[WrongRule]:
    """One elementwise function: its slope left out, or taken at the wrong place."""
    kept = differentiable(step, program)
    if step.primitive in SMOOTH and len(kept) == 1:
        yield from _wrong_slopes([step], step.ins[kept[0]], step.outs[0], program)


def _wrong_slopes(steps: list[Step], start: int, end: int, program: Program) -> Iterator[WrongRule]:
    line = steps[-1].line
    primitives = {step.primitive for step in steps}

    def rule(mistake: str, slope: Callable[[Any, Any], Any]) -> WrongRule:
        def of_both(env: Env) -> Any:
            return finite(slope(stopped(env[start]), stopped(env[end])))

        return WrongRule(mistake, TEXTS[mistake], end, line, None, start, of_both)

    def at_output(env: Env) -> Any:
        y = stopped(env[end])
        _, slope = jax.jvp(_replayed(steps, start, end, env, program.types), (y,), (jnp.ones_like(y),))
        return finite(stopped(slope))

    yield rule("missing-factor", lambda x, y: jnp.ones_like(y))
    for mistake, slope in (part for name, parts in PARTS.items() if name in primitives for part in parts):
        yield rule(mistake, functools.partial(_of_output, slope))
    if primitives & (SMOOTH - {"abs"}):
        yield WrongRule("derivative-at-output", TEXTS["derivative-at-output"], end, line, None, start, at_output)
    for slope in (slope for name, slopes in AT_OUTPUT.items() if name in primitives for slope in slopes):
        yield rule("derivative-at-input", functools.partial(_of_input, slope))


def _of_output(slope: Callable[[Any], Any], x: Any, y: Any) -> Any:
    return slope(y)


def _of_input(slope: Callable[[Any], Any], x: Any, y: Any) -> Any:
    return slope(x)


def _replayed(steps: list[Step], start: int, end: int, env: Env, types: dict[int, Any]) -> Callable[[Any], Any]:
    """The value ``end`` as a function of the value ``start`` alone, all others being what they are."""
    results = {n for step in steps for n in step.outs}
    outside = {n: stopped(env[n]) for step in steps for n in step.ins if n in env and n not in results and n != start}
    program = Program((start,), (end,), outside, steps, types)
    return lambda value: evaluate(program, [value], Hooks())[0]


def composites(program: Program) -> Iterator[WrongRule]:
    """Functions that are written out over several steps: from one line's result to another's of the same shape."""
    made_by = {n: step for step in program.steps for n in step.outs}
    ends = _results_of_lines(program)
    for end in ends:
        for start, steps in _ways_back(end, {*program.inputs, *ends}, made_by, program):
            if len(steps) < 2:
                continue  # a single step has been seen to
            if all(step.primitive in ELEMENTWISE for step in steps):
                if any(step.primitive in SMOOTH for step in steps):
                    yield from _wrong_slopes(steps, start, end, program)
            elif math.prod(program.types[end].shape) <= LARGEST_JACOBIAN:
                yield _diagonal(steps, start, end, program)


def by_values(program: Program) -> list[WrongRule]:
    """The gradient of one line's result, divided or multiplied by another's that fits its shape: the y in front of
    softmax's bracket, the norm that all is divided by."""
    named = _results_of_lines(program)
    lines = {n: step.line for step in program.steps for n in step.outs}
    pairs = [(1 + abs(i - j), v, w) for i, v in enumerate(named) for j, w in enumerate(named) if v != w]
    for step in program.steps:  # what a line multiplies or divides by, though it has no name
        if step.primitive in ("mul", "div"):
            pairs += [(0, v, w) for v in named if lines[v] == step.line for w in step.ins if w in lines and w != v]
    moving = set(program.inputs)  # a constant, such as a one-hot of the labels, is no factor of a derivative
    for step in program.steps:
        moving |= set(step.outs) if moving & set(step.ins) else set()
    pairs = [
        (far, v, w) for far, v, w in pairs if w in moving and _fits(program.types[w].shape, program.types[v].shape)
    ]
    rules = []
    for _, v, w in sorted(set(pairs))[:NEAREST]:
        for power in (-1, 1):

            def slope(env: Env, w: int = w, power: int = power) -> Any:
                return finite(stopped(env[w]) ** power)

            text = (
                "is too large or too small by the value of this line" if power > 0 else "lacks the factor of this line"
            )
            rules.append(WrongRule("missing-factor", text, v, lines[w], None, v, slope))
    return rules


def _fits(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Whether an array of more than one element can be broadcast to the other's shape, and has its rank."""
    sizes = list(zip(shape, into, strict=False))
    return len(shape) == len(into) and math.prod(shape) > 1 and all(a in (1, b) for a, b in sizes)


def _results_of_lines(program: Program) -> list[int]:
    """The last float value of each line, and the outputs: what a person who derives by hand has a name for."""
    made = [(step.line[:2], n) for step in program.steps for n in step.outs if program.is_float(n)]
    return list(dict.fromkeys(dict(made).values()))


def _ways_back(
    end: int, starts: set[int], made_by: dict[int, Step], program: Program
) -> Iterator[tuple[int, list[Step]]]:
    """Every named value of the same shape that leads to ``end``, and the steps between, in program order."""
    order = {n: i for i, n in enumerate(made_by)}
    ancestors: list[Step] = []
    front = [end]
    seen: set[int] = set()
    while front and len(ancestors) < REACH:
        number = max(front, key=lambda n: order.get(n, -1))
        front.remove(number)
        step = made_by.get(number)
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        ancestors.append(step)
        for n in step.ins:
            if program.is_float(n) and n not in program.constants:
                front.append(n)
        front = list(dict.fromkeys(front))
    for start in sorted({n for step in ancestors for n in step.ins} & starts):
        if start == end or program.types[start] != program.types[end]:
            continue
        depends, steps = {start}, []
        for step in reversed(ancestors):
            if depends & set(step.ins):
                depends |= set(step.outs)
                steps.append(step)
        steps = [step for step in steps if not set(step.outs) & {start}]
        if end in depends:
            yield start, steps


def _diagonal(steps: list[Step], start: int, end: int, program: Program) -> WrongRule:
    def slope(env: Env) -> Any:
        x = stopped(env[start])
        f = _replayed(steps, start, end, env, program.types)
        rows = jax.vmap(lambda e: jax.jvp(f, (x,), (e.reshape(x.shape),))[1].ravel())(jnp.eye(x.size, dtype=x.dtype))
        return finite(stopped(jnp.diag(rows).reshape(x.shape)))

    mistake = "jacobian-diagonal-only"
    return WrongRule(mistake, TEXTS[mistake], end, steps[-1].line, None, start, slope)
