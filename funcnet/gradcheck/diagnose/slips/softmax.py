"""Slips in the Jacobian of a softmax, a log-softmax or a log-sum-exp, however it is written: a wrong axis, or none."""

import functools
import operator
from collections.abc import Iterator
from typing import Any

import jax

from ...engine.jaxprs import Program, Step
from .slip import LEFT_OUT, Env, Slip, before, finite_or_zero, stopped

ALIASES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "abs", "add", "max"})


def softmax_slips(program: Program) -> Iterator[Slip]:
    """For each sum of exponentials, what is made of it: by a softmax over another axis, or summed over another axis."""
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        maker = made_by.get(step.ins[0]) if step.primitive == "reduce_sum" else None
        if maker is None or maker.primitive != "exp":
            continue
        scores, axes = _scores(maker, made_by, program), tuple(step.params["axes"])
        for end in _ends(step, program):
            if end.primitive != "log":
                yield Slip("missing-factor", end.outs[0], end.line, operator.itemgetter(scores), LEFT_OUT)
            for other in set(range(len(program.types[scores].shape))) - set(axes):
                for soft, summed in ((axes, (other,)), ((other,), axes), ((other,), (other,))):
                    if end.primitive != "log" or summed == axes:
                        stand_in = functools.partial(_linear, end, scores, axes, soft, summed)
                        yield Slip("wrong-axis", end.outs[0], end.line, stand_in)


def _linear(
    end: Step, scores: int, axes: tuple[int, ...], soft: tuple[int, ...], summed: tuple[int, ...], env: Env
) -> Any:
    """The Jacobian of a softmax p, p∘z − p Σ(p∘z), of its log, z − Σ(p∘z), or of the log of the sum, Σ(p∘z).

    p is the softmax along the axes ``soft``, and the sum is along ``summed``; the forward has ``axes`` for both.
    """
    z, value = env[scores], env[end.outs[0]]
    given = end.primitive == "div" and soft == axes  # it may hold a small number in the quotient
    p = finite_or_zero(stopped(value) if given else jax.nn.softmax(stopped(z), axis=soft))
    total = (p * z).sum(axis=summed, keepdims=True)
    if end.primitive == "log":
        return total.reshape(value.shape)
    return p * (z - total) if end.primitive == "div" else z - total


def _scores(exponential: Step, made_by: dict[int, Step], program: Program) -> int:
    """The value whose softmax is taken: the operand of exp, before its maximum was subtracted."""
    shifted = exponential.ins[0]
    maker = made_by.get(shifted)
    if maker is None or maker.primitive != "sub":
        return shifted
    shift = before(maker.ins[1], made_by, program)
    is_shift = any(step.primitive == "reduce_max" and step.ins[0] == maker.ins[0] for step in shift)
    return maker.ins[0] if is_shift else shifted


def _ends(total: Step, program: Program) -> Iterator[Step]:
    """The quotients by a sum, the logs of it, and the differences from such a log."""
    same, logs = set(total.outs), set[int]()
    for step in program.steps:
        varying = [n for n in step.ins if n not in program.constants]
        for aliases in (same, logs):
            if len(varying) == 1 and varying[0] in aliases and step.primitive in ALIASES:
                aliases.add(step.outs[0])
        if step.primitive == "div" and step.ins[1] in same and step.ins[0] not in same:
            yield step
        elif step.primitive == "log" and step.ins[0] in same:
            logs.add(step.outs[0])
            yield step
        elif step.primitive == "sub" and step.ins[1] in logs:
            yield step
