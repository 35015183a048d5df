"""Slips in the order along an axis: a flip or a permutation left out, a sum or a loop in the wrong direction."""

import functools
import operator
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from ...engine.jaxprs import Program, Step, counts, evaluate
from .slip import Env, Slip, exchanged, stopped

REORDERS = frozenset({"rev", "gather", "sort", "concatenate"})
MOVES = REORDERS | {
    "slice", "dynamic_slice", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "copy",
}  # fmt: skip


def order_slips(program: Program) -> Iterator[Slip]:
    """Everything that runs along an axis in one direction, and everything that only moves elements."""
    for step in program.steps:
        if step.primitive == "cumsum":
            turned = {"reverse": not step.params["reverse"]}
            yield Slip("reversed-axis", step.outs[0], step.line, functools.partial(_summed, step, turned))
            for axis in set(range(len(program.types[step.outs[0]].shape))) - {step.params["axis"]}:
                yield Slip("wrong-axis", step.outs[0], step.line, functools.partial(_summed, step, {"axis": axis}))
        elif step.primitive == "scan":
            used = {n for later in program.steps for n in later.ins} | set(program.outputs)
            for at, n in enumerate(step.outs):
                if n in used and program.is_float(n):
                    yield Slip("reversed-axis", n, step.line, functools.partial(_turned_loop, step, at))
    yield from _moved(program)


def _summed(step: Step, changes: dict[str, Any], env: Env) -> Any:
    return step.bind(env[step.ins[0]], params=step.params | changes)[0]


def _turned_loop(step: Step, at: int, env: Env) -> Any:
    """The result ``at`` of a loop whose turns come in the reverse order, each with the values that it had.

    Its gradient runs through the turns in the direction in which the loop ran.
    """
    (body,) = step.bodies
    fixed, carried = counts(step)
    values = [env[n] for n in step.ins]
    consts, start, rows = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
    settings = {"length": step.params["length"], "reverse": step.params["reverse"]}

    def forward(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        return evaluate(body, [*map(stopped, consts), *carry, *row])[:carried], carry

    _, held = lax.scan(forward, [stopped(v) for v in start], [stopped(v) for v in rows], **settings)

    def turn(carry: list[Any], row: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
        kept = [
            exchanged(h, c, 1.0) if jnp.issubdtype(h.dtype, jnp.floating) else h
            for h, c in zip(row[1], carry, strict=True)
        ]
        outs = evaluate(body, [*consts, *kept, *row[0]])
        return outs[:carried], outs[carried:]

    carry, found = lax.scan(turn, start, (rows, held), **settings | {"reverse": not settings["reverse"]})
    return [*carry, *found][at]


def _moved(program: Program) -> Iterator[Slip]:
    """Steps that do no more than move elements: the gradient stays where it is, or is moved the same way again."""
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        if step.primitive not in MOVES or not program.is_float(step.outs[0]):
            continue
        end, (steps, starts) = step.outs[0], _chain(step, made_by, program)
        if not any(s.primitive in REORDERS for s in steps) or len(starts) != 1:
            continue
        (start,) = starts
        if program.types[start] != program.types[end]:
            continue
        mistake = "reversed-axis" if all(s.primitive not in REORDERS - {"rev"} for s in steps) else "permuted"
        yield Slip(mistake, end, step.line, operator.itemgetter(start))

        def again(env: Env, steps: list[Step] = steps, start: int = start, end: int = end) -> Any:
            places = _places(steps, start, end, env)
            x = env[start]
            return jnp.zeros(x.size, x.dtype).at[places.ravel()].add(x.ravel()).reshape(x.shape)

        if mistake == "permuted":  # a flip is its own inverse
            text = "is moved as this line moves its operand, and not back"
            yield Slip(mistake, end, step.line, again, text)


def _chain(step: Step, made_by: dict[int, Step], program: Program) -> tuple[list[Step], set[int]]:
    """The steps that do nothing but move elements and lead up to this one, and the values that they move."""
    steps, starts, front = {step.outs: step}, set[int](), [step]
    while front:
        for n in front.pop().ins:
            if not program.is_float(n):
                continue
            maker = made_by.get(n)
            if maker is None or maker.primitive not in MOVES:
                starts.add(n)
            elif maker.outs not in steps:
                steps[maker.outs] = maker
                front.append(maker)
    return [s for s in program.steps if s.outs in steps], starts


def _places(steps: list[Step], start: int, end: int, env: Env) -> Any:
    """Where, in the flattened ``start``, each element of ``end`` comes from."""
    x = stopped(env[start])
    at = {start: jnp.arange(x.size, dtype=x.dtype).reshape(x.shape)}
    for step in steps:
        values = [at[n] if n in at else env[n] for n in step.ins]
        if step.primitive == "sort":
            at[step.outs[0]] = lax.sort((stopped(env[step.ins[0]]), values[0]), step.params["dimension"], num_keys=1)[1]
        else:
            at[step.outs[0]] = step.bind(*values)[0]
    return at[end].astype(int)
