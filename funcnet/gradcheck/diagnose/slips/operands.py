"""The wrong local derivatives that people write, as surrogates: values whose tangent is the wrong one.

Each belongs to one value v of the forward. If the gradient of v is exchanged for that of the surrogate and the whole
VJP then equals what the backward gave, that is the mistake, and the line that computes v is where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp

from ...engine.jaxprs import Program, Step
from .slip import SMOOTH, Env, WrongRule, differentiable, finite, others_kept, stopped
from .slopes import by_values, composites, slopes


def wrong_rules(program: Program, inside: bool = False) -> list[WrongRule]:
    """Every wrong rule for every step, those of loops and branches included, the most telling names first.

    ``inside``: the program is a loop's body or a branch.
    """
    found: list[WrongRule] = []
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        if len(step.outs) == 1 and program.is_float(step.outs[0]):
            for family in (_masks, _transposes, _products, slopes):
                found += family(step, program)
            found += _earlier_operands(step, program, made_by)
        for body in step.bodies:
            found += wrong_rules(body, inside=True)
    found += composites(program)
    found.sort(key=lambda rule: ORDER.index(rule.mistake))  # stable: program order within
    return found if inside else found + by_values(program)


ORDER = (
    "wrong-mask",
    "wrong-operand-transposed",
    "missing-factor",
    "derivative-at-output",
    "derivative-at-input",
    "sign-flipped",
    "jacobian-diagonal-only",
)


# ---------------------------------------------------------------- masks


def _masks(step: Step, program: Program) -> Iterator[WrongRule]:
    """A condition that is forgotten: what is due on one side flows on both; or it is taken the other way round."""
    out, kept = step.outs[0], differentiable(step, program)
    shape = program.types[out].shape

    def rule(text: str, surrogate: Callable[[Env], Any]) -> WrongRule:
        return WrongRule("wrong-mask", text, out, step.line, surrogate)

    if step.primitive in ("max", "min", "select_n", "clamp"):
        kept = [j for j in kept if program.types[step.ins[j]].shape == shape]
        for j in kept:
            yield rule("lets the gradient through where the condition of this line stops it", _operand(step, j))
            if len(kept) > 1:
                yield rule("lets the gradient through where the condition of this line stops it", _unmasked(step, j))
        if len(kept) > 1:
            yield rule(
                "lets the gradient through to all that this line chooses from",
                lambda env: sum(env[step.ins[j]] for j in kept),
            )
    if step.primitive == "select_n" and len(step.ins) == 3 and program.types[step.ins[0]].dtype == bool:
        yield rule(
            "has the condition of this line the wrong way round",
            lambda env: step.bind(~env[step.ins[0]], *(env[n] for n in step.ins[1:]))[0],
        )
    if step.primitive in ("max", "min") and len(step.ins) == 2:
        swapped = lambda a, b: jnp.where(a < b, a, b) if step.primitive == "max" else jnp.where(a < b, b, a)  # noqa: E731
        yield rule(
            "has the condition of this line the wrong way round", lambda env: swapped(*(env[n] for n in step.ins))
        )
    if step.primitive in ("reduce_max", "reduce_min"):
        axes = tuple(step.params["axes"])
        yield rule("goes to every place, not to that of the extreme alone", _reduced(jnp.sum, step, axes))
        yield rule("is shared by every place, not that of the extreme alone", _reduced(jnp.mean, step, axes))
        opposite = jnp.min if step.primitive == "reduce_max" else jnp.max
        yield rule("goes to the place of the opposite extreme", _reduced(opposite, step, axes))


def _unmasked(step: Step, j: int) -> Callable[[Env], Any]:
    return lambda env: env[step.ins[j]] + others_kept(step, env, j)


def _reduced(reduction: Callable[..., Any], step: Step, axes: tuple[int, ...]) -> Callable[[Env], Any]:
    return lambda env: reduction(env[step.ins[0]], axis=axes)


def _operand(step: Step, j: int) -> Callable[[Env], Any]:
    return lambda env: env[step.ins[j]]


# ---------------------------------------------------------------- products


def _transposes(step: Step, program: Program) -> Iterator[WrongRule]:
    """In the derivative of a product by one operand, the other operand or the cotangent is taken transposed."""
    text = "has the other operand of this line's product transposed"
    if step.primitive == "transpose" and program.types[step.ins[0]].shape == program.types[step.outs[0]].shape:
        yield WrongRule(
            "wrong-operand-transposed", "is not transposed back", step.outs[0], step.line, _operand(step, 0)
        )
    if step.primitive != "dot_general":
        return
    for j in differentiable(step, program):
        other = step.ins[1 - j]
        for a, b in _square_axes(program.types[other].shape):

            def through_transposed(env: Env, j: int = j, other: int = other, a: int = a, b: int = b) -> Any:
                turned = stopped(jnp.swapaxes(env[other], a, b))
                given = (env[step.ins[0]], turned) if j == 0 else (turned, env[step.ins[1]])
                return step.bind(*given)[0] + others_kept(step, env, j)

            yield WrongRule("wrong-operand-transposed", text, step.outs[0], step.line, through_transposed)
        for a, b in _square_axes(program.types[step.outs[0]].shape):

            def cotangent_transposed(env: Env, j: int = j, a: int = a, b: int = b) -> Any:
                alone = step.bind(*(env[n] if k == j else stopped(env[n]) for k, n in enumerate(step.ins)))[0]
                return jnp.swapaxes(alone, a, b) + others_kept(step, env, j)

            says = "has the cotangent of this line's product transposed"
            yield WrongRule("wrong-operand-transposed", says, step.outs[0], step.line, cotangent_transposed)


def _square_axes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of axes of one size above 1."""
    return [(a, b) for b in range(len(shape)) for a in range(b) if shape[a] == shape[b] > 1]


def _products(step: Step, program: Program) -> Iterator[WrongRule]:
    """In the derivative of a product or a quotient by one operand, a factor is left out or taken twice."""
    if step.primitive not in ("mul", "div") or step.ins[0] == step.ins[1]:
        return
    for j in differentiable(step, program):
        other = step.ins[1 - j]
        if other in program.constants and not program.types[other].shape:
            continue  # a constant: that is a scale on a path
        powers = {
            ("mul", 0): [lambda a, b: 1.0, lambda a, b: b * b],
            ("mul", 1): [lambda a, b: 1.0, lambda a, b: a * a],
            ("div", 0): [lambda a, b: 1.0, lambda a, b: 1 / b**2],
            ("div", 1): [lambda a, b: -a / b, lambda a, b: -1 / b**2, lambda a, b: -a, lambda a, b: -a / b**3],
        }[step.primitive, j]
        for factor in powers:

            def surrogate(env: Env, j: int = j, factor: Callable[..., Any] = factor) -> Any:
                a, b = (stopped(env[n]) for n in step.ins)
                return finite(factor(a, b)) * env[step.ins[j]] + others_kept(step, env, j)

            text = "has a factor of this line's product or quotient left out, or once too often"
            yield WrongRule("missing-factor", text, step.outs[0], step.line, surrogate)


def _earlier_operands(step: Step, program: Program, made_by: dict[int, Step]) -> Iterator[WrongRule]:
    """In the derivative of a product by one operand, the other is taken as it was a step earlier: z for h = φ(z), a
    for a·g."""
    if step.primitive not in ("mul", "div", "dot_general") or step.ins[0] == step.ins[1]:
        return
    for j in differentiable(step, program):
        other = step.ins[1 - j]
        maker = made_by.get(other)
        if maker is None or maker.primitive not in SMOOTH | {"mul", "div"}:
            continue
        for earlier in dict.fromkeys(maker.ins):
            if program.types[earlier] != program.types[other]:
                continue

            def surrogate(env: Env, j: int = j, earlier: int = earlier) -> Any:
                given = [env[n] if k == j else finite(stopped(env[earlier])) for k, n in enumerate(step.ins)]
                return step.bind(*given)[0] + others_kept(step, env, j)

            if maker.primitive in SMOOTH:
                mistake, text = (
                    "derivative-at-input",
                    "has the other operand of this line as it was before its function",
                )
            else:
                mistake, text = "missing-factor", "lacks a factor of the other operand of this line"
            yield WrongRule(mistake, text, step.outs[0], step.line, surrogate)
