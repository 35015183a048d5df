"""Slips in the derivative of one step by one of its operands: conditions, transposes, factors, and what is summed."""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from ...engine.jaxprs import Program, Step
from ...tolerances import NEAREST
from .slip import SMOOTH, Env, Slip, by_one, differentiable, finite_or_zero, results_of_lines, stopped, without

# ---------------------------------------------------------------- conditions

THROUGH = "lets the gradient through where the condition of this line stops it"
REVERSED = "has the condition of this line the wrong way round"
VALUE = "is multiplied by a value of this line, not by its condition"


def mask_slips(step: Step, program: Program) -> Iterator[Slip]:
    """A condition is forgotten, so that both sides get the gradient, or it is taken the other way round."""

    def slip(text: str, stand_in: Callable[[Env], Any]) -> Slip:
        return Slip("wrong-mask", step.outs[0], step.line, stand_in, text)

    if step.primitive in ("max", "min", "select_n", "clamp"):
        shape = program.types[step.outs[0]].shape
        kept = [j for j in differentiable(step, program) if program.types[step.ins[j]].shape == shape]
        for j in kept:
            yield slip(THROUGH, lambda env, j=j: env[step.ins[j]])  # type: ignore[misc]
            if len(kept) > 1:
                yield slip(THROUGH, lambda env, j=j: env[step.ins[j]] + without(step, env, j))  # type: ignore[misc]
        if len(kept) > 1:
            everything = "lets the gradient through to all that this line chooses from"
            yield slip(everything, lambda env: sum(env[step.ins[j]] for j in kept))
    if step.primitive == "select_n" and len(step.ins) == 3 and program.types[step.ins[0]].dtype == bool:
        yield slip(REVERSED, lambda env: step.bind(~env[step.ins[0]], *(env[n] for n in step.ins[1:]))[0])
    if step.primitive in ("max", "min") and len(step.ins) == 2:
        a, b = step.ins if step.primitive == "max" else step.ins[::-1]
        yield slip(REVERSED, lambda env: jnp.where(env[step.ins[0]] < env[step.ins[1]], env[a], env[b]))
    if step.primitive in ("max", "min"):
        for j in kept:
            start, end = step.ins[j], step.outs[0]
            value = lambda env, end=end: stopped(env[end])  # noqa: E731
            yield Slip("wrong-mask", end, step.line, text=VALUE, start=start, slope=value)
    if step.primitive in ("reduce_max", "reduce_min"):
        yield slip(VALUE, lambda env: jnp.sum(stopped(env[step.ins[0]]) * env[step.ins[0]], tuple(step.params["axes"])))
        yield slip("goes to every place but that of the extreme", _all_but_extreme(step))
        opposite = jnp.min if step.primitive == "reduce_max" else jnp.max
        yield slip("goes to every place, not to the place of the extreme alone", _reduced(jnp.sum, step))
        yield slip("is shared by every place, not by the place of the extreme alone", _reduced(jnp.mean, step))
        yield slip("goes to the place of the opposite extreme", _reduced(opposite, step))


def _all_but_extreme(step: Step) -> Callable[[Env], Any]:
    def stand_in(env: Env) -> Any:
        x, axes = env[step.ins[0]], tuple(step.params["axes"])
        return jnp.sum(jnp.where(x == jnp.expand_dims(env[step.outs[0]], axes), 0.0, x), axes)

    return stand_in


def _reduced(reduction: Callable[..., Any], step: Step) -> Callable[[Env], Any]:
    return lambda env: reduction(env[step.ins[0]], axis=tuple(step.params["axes"]))


# ---------------------------------------------------------------- products


def transpose_slips(step: Step, program: Program) -> Iterator[Slip]:
    """In the derivative of a matrix product by one operand, the other operand or the cotangent is transposed."""

    def slip(stand_in: Callable[[Env], Any]) -> Slip:
        return Slip("wrong-operand-transposed", step.outs[0], step.line, stand_in)

    if step.primitive == "transpose" and program.types[step.ins[0]].shape == program.types[step.outs[0]].shape:
        yield slip(lambda env: env[step.ins[0]])
    for j in differentiable(step, program) if step.primitive == "dot_general" else ():
        other = step.ins[1 - j]
        for axes in _square_axes(program.types[other].shape):

            def operand(env: Env, j: int = j, other: int = other, axes: tuple[int, int] = axes) -> Any:
                return by_one(step, env, j, stopped(jnp.swapaxes(env[other], *axes))) + without(step, env, j)

            yield slip(operand)
        for axes in _square_axes(program.types[step.outs[0]].shape):

            def cotangent(env: Env, j: int = j, axes: tuple[int, int] = axes) -> Any:
                return jnp.swapaxes(by_one(step, env, j), *axes) + without(step, env, j)

            yield slip(cotangent)


def _square_axes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of axes of one size above 1."""
    return [(a, b) for b in range(len(shape)) for a in range(b) if shape[a] == shape[b] > 1]


# By primitive and operand: the slope with the other factor left out, and with it taken twice.
FACTORS: dict[tuple[str, int], list[Callable[[Any, Any], Any]]] = {
    ("mul", 0): [lambda a, b: 1.0, lambda a, b: b * b],
    ("mul", 1): [lambda a, b: 1.0, lambda a, b: a * a],
    ("div", 0): [lambda a, b: 1.0, lambda a, b: 1 / b**2],
    ("div", 1): [lambda a, b: -a / b, lambda a, b: -1 / b**2, lambda a, b: -a, lambda a, b: -a / b**3],
}


def factor_slips(step: Step, program: Program) -> Iterator[Slip]:
    """In the derivative of a product or a quotient by one operand, a factor is left out or taken twice."""
    if step.primitive not in ("mul", "div") or step.ins[0] == step.ins[1]:
        return
    for j in differentiable(step, program):
        other = step.ins[1 - j]
        if other in program.constants and not program.types[other].shape:
            continue  # a constant: a factor on a path, which the fits have tried
        for factor in FACTORS[step.primitive, j]:

            def stand_in(env: Env, j: int = j, factor: Callable[..., Any] = factor) -> Any:
                slope = finite_or_zero(factor(*(stopped(env[n]) for n in step.ins)))
                return slope * env[step.ins[j]] + without(step, env, j)

            yield Slip("missing-factor", step.outs[0], step.line, stand_in)


def earlier_slips(step: Step, program: Program, made_by: dict[int, Step]) -> Iterator[Slip]:
    """In the derivative of a product by one operand, the other one is taken a step too early.

    That is z for h = φ(z), or a for a·g.
    """
    if step.primitive not in ("mul", "div", "dot_general") or step.ins[0] == step.ins[1]:
        return
    for j in differentiable(step, program):
        other = step.ins[1 - j]
        maker = made_by.get(other)
        if maker is None or maker.primitive not in SMOOTH | {"mul", "div"}:
            continue
        mistake = "derivative-at-input" if maker.primitive in SMOOTH else "missing-factor"
        if step.primitive == "dot_general":
            mistake = "wrong-operand"
        text = "has the other operand of this line as it was a step earlier"
        for earlier in dict.fromkeys(maker.ins):
            if program.types[earlier] == program.types[other]:

                def stand_in(env: Env, j: int = j, earlier: int = earlier) -> Any:
                    return by_one(step, env, j, finite_or_zero(stopped(env[earlier]))) + without(step, env, j)

                yield Slip(mistake, step.outs[0], step.line, stand_in, text)


def operand_slips(program: Program, known: Callable[[Env, int], Any]) -> Iterator[Slip]:
    """In the derivative of a product by one operand, another array stands in the other one's place.

    It may be the operand itself, an argument, or the result of a line, also a later one: h_t for h_{t−1} in a loop.
    ``known(env, n)`` is the value of any number.
    """
    named = [*program.inputs, *results_of_lines(program)]
    place = {n: i for i, n in enumerate(named)}
    found = []
    for step in program.steps:
        if step.primitive not in ("mul", "dot_general") or step.ins[0] == step.ins[1]:
            continue
        for j in differentiable(step, program):
            own, other = step.ins[j], step.ins[1 - j]
            for n in {own, *named} - {other}:
                if program.types[n] == program.types[other] and n not in program.constants:
                    far = 0 if n == own else 1 + abs(place[n] - place.get(other, place[n]))

                    def stand_in(env: Env, step: Step = step, j: int = j, n: int = n) -> Any:
                        return by_one(step, env, j, finite_or_zero(stopped(known(env, n)))) + without(step, env, j)

                    found.append((far, n, Slip("wrong-operand", step.outs[0], step.line, stand_in)))
    found.sort(key=lambda item: item[:2])
    yield from (slip for *_, slip in found[:NEAREST])


# ---------------------------------------------------------------- sums


def example_slips(step: Step, program: Program) -> Iterator[Slip]:
    """An operand that is used for every example, and whose derivative is summed over one of them alone."""

    def slip(j: int, axis: int, at: int) -> Slip:
        def stand_in(env: Env) -> Any:
            y = by_one(step, env, j)
            chosen = lax.broadcasted_iota(int, y.shape, axis) == at % y.shape[axis]
            return jnp.where(chosen, y, stopped(y)) + without(step, env, j)

        return Slip("single-example", step.outs[0], step.line, stand_in)

    shape = program.types[step.outs[0]].shape
    for j in differentiable(step, program) if step.primitive in ("broadcast_in_dim", "dot_general") else ():
        own = program.types[step.ins[j]].shape
        if step.primitive == "broadcast_in_dim":
            kept = {at for at, size in zip(step.params["broadcast_dimensions"], own, strict=True) if size == shape[at]}
            summed = [axis for axis in range(len(shape)) if axis not in kept]
        else:
            (_, theirs), (batch, _) = step.params["dimension_numbers"]
            free = len(own if j == 0 else program.types[step.ins[0]].shape) - len(batch) - len(theirs)
            summed = list(range(len(batch) + free, len(shape)) if j == 0 else range(len(batch), len(batch) + free))
        for axis in summed:
            if shape[axis] > 1:
                yield from (slip(j, axis, at) for at in (0, -1))
