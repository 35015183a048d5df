"""The wrong local derivatives that people write, as surrogates: values whose tangent is the wrong one.

Each belongs to one value v of the forward. If the gradient of v is exchanged for that of the surrogate and the whole
VJP then equals what the backward gave, that is the mistake, and the line that computes v is where it was made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .program import Hooks, Line, Program, Step, evaluate

Env = Mapping[int, Any]
stopped = lax.stop_gradient

REACH = 16  # steps of an elementwise function that is written out: a gelu has ten
NEAREST = 40  # pairs of lines, one's result being a factor of the other's gradient
LARGEST_JACOBIAN = 400  # entries of a value whose Jacobian is written out for its diagonal

# fmt: off
SMOOTH = frozenset({
    "tanh", "logistic", "exp", "exp2", "log", "log1p", "expm1", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "integer_pow", "pow", "square",
    "abs",
})
MASKS = frozenset({"max", "min", "select_n", "clamp"})
ELEMENTWISE = SMOOTH | MASKS | {
    "add", "add_any", "sub", "mul", "div", "neg", "sign", "copy", "convert_element_type",
}
# fmt: on


class WrongRule(NamedTuple):
    """``surrogate(env)`` has the wrong tangent for the value of number ``value``.

    ``env`` holds all values of the forward, those that are computed later as constants; of a loop's body only those
    before. Where the wrong tangent is that of the value ``start``, times a slope, ``slope(env)`` is that.
    """

    mistake: str
    text: str
    value: int
    line: Line
    of: Callable[[Env], Any] | None = None
    start: int = -1
    slope: Callable[[Env], Any] | None = None

    def surrogate(self, env: Env) -> Any:
        if self.slope is None:
            assert self.of is not None
            return self.of(env)
        return self.slope(env) * env[self.start]


def wrong_rules(program: Program, inside: bool = False) -> list[WrongRule]:
    """Every wrong rule for every step, those of loops and branches included, the most telling names first.

    ``inside``: the program is a loop's body or a branch.
    """
    found: list[WrongRule] = []
    made_by = {n: step for step in program.steps for n in step.outs}
    for step in program.steps:
        if len(step.outs) == 1 and program.is_float(step.outs[0]):
            for family in (_masks, _transposes, _products, _slopes):
                found += family(step, program)
            found += _earlier_operands(step, program, made_by)
        for body in step.bodies:
            found += wrong_rules(body, inside=True)
    found += _composites(program)
    if not inside:
        found += _by_values(program)
    return sorted(found, key=lambda rule: ORDER.index(rule.mistake))  # stable: program order within


ORDER = (
    "wrong-mask",
    "wrong-operand-transposed",
    "missing-factor",
    "derivative-at-output",
    "derivative-at-input",
    "sign-flipped",
    "jacobian-diagonal-only",
)


def _differentiable(step: Step, program: Program) -> list[int]:
    """The positions of its operands that a gradient flows to."""
    return [j for j, n in enumerate(step.ins) if program.is_float(n) and n not in program.constants]


def _others_kept(step: Step, env: Env, position: int) -> Any:
    """The step with nothing flowing to the operand at ``position``."""
    return step.bind(*(stopped(env[n]) if j == position else env[n] for j, n in enumerate(step.ins)))[0]


def _finite(slope: Any) -> Any:
    """A rule that is not switched on must not make NaN of a score of −∞."""
    return jnp.where(jnp.isfinite(slope), slope, 0.0)


# ---------------------------------------------------------------- masks


def _masks(step: Step, program: Program) -> Iterator[WrongRule]:
    """A condition that is forgotten: what is due on one side flows on both; or it is taken the other way round."""
    out, kept = step.outs[0], _differentiable(step, program)
    shape = program.types[out].shape

    def rule(text: str, surrogate: Callable[[Env], Any]) -> WrongRule:
        return WrongRule("wrong-mask", text, out, step.line, surrogate)

    if step.primitive in ("max", "min", "select_n", "clamp"):
        kept = [j for j in kept if program.types[step.ins[j]].shape == shape]
        for j in kept:
            yield rule("lets the gradient through where the condition of this line stops it", _operand(step, j))
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
    for j in _differentiable(step, program):
        other = step.ins[1 - j]
        for a, b in _square_axes(program.types[other].shape):

            def through_transposed(env: Env, j: int = j, other: int = other, a: int = a, b: int = b) -> Any:
                turned = stopped(jnp.swapaxes(env[other], a, b))
                given = (env[step.ins[0]], turned) if j == 0 else (turned, env[step.ins[1]])
                return step.bind(*given)[0] + _others_kept(step, env, j)

            yield WrongRule("wrong-operand-transposed", text, step.outs[0], step.line, through_transposed)
        for a, b in _square_axes(program.types[step.outs[0]].shape):

            def cotangent_transposed(env: Env, j: int = j, a: int = a, b: int = b) -> Any:
                alone = step.bind(*(env[n] if k == j else stopped(env[n]) for k, n in enumerate(step.ins)))[0]
                return jnp.swapaxes(alone, a, b) + _others_kept(step, env, j)

            says = "has the cotangent of this line's product transposed"
            yield WrongRule("wrong-operand-transposed", says, step.outs[0], step.line, cotangent_transposed)


def _square_axes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of axes of one size above 1."""
    return [(a, b) for b in range(len(shape)) for a in range(b) if shape[a] == shape[b] > 1]


def _products(step: Step, program: Program) -> Iterator[WrongRule]:
    """In the derivative of a product or a quotient by one operand, a factor is left out or taken twice."""
    if step.primitive not in ("mul", "div") or step.ins[0] == step.ins[1]:
        return
    for j in _differentiable(step, program):
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
                return _finite(factor(a, b)) * env[step.ins[j]] + _others_kept(step, env, j)

            text = "has a factor of this line's product or quotient left out, or once too often"
            yield WrongRule("missing-factor", text, step.outs[0], step.line, surrogate)


def _earlier_operands(step: Step, program: Program, made_by: dict[int, Step]) -> Iterator[WrongRule]:
    """In the derivative of a product by one operand, the other is taken as it was a step earlier: z for h = φ(z), a
    for a·g."""
    if step.primitive not in ("mul", "div", "dot_general") or step.ins[0] == step.ins[1]:
        return
    for j in _differentiable(step, program):
        other = step.ins[1 - j]
        maker = made_by.get(other)
        if maker is None or maker.primitive not in SMOOTH | {"mul", "div"}:
            continue
        for earlier in dict.fromkeys(maker.ins):
            if program.types[earlier] != program.types[other]:
                continue

            def surrogate(env: Env, j: int = j, earlier: int = earlier) -> Any:
                given = [env[n] if k == j else _finite(stopped(env[earlier])) for k, n in enumerate(step.ins)]
                return step.bind(*given)[0] + _others_kept(step, env, j)

            if maker.primitive in SMOOTH:
                mistake, text = (
                    "derivative-at-input",
                    "has the other operand of this line as it was before its function",
                )
            else:
                mistake, text = "missing-factor", "lacks a factor of the other operand of this line"
            yield WrongRule(mistake, text, step.outs[0], step.line, surrogate)


# ---------------------------------------------------------------- slopes

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


def _slopes(step: Step, program: Program) -> Iterator[WrongRule]:
    """One elementwise function: its slope left out, or taken at the wrong place."""
    kept = _differentiable(step, program)
    if step.primitive in SMOOTH and len(kept) == 1:
        yield from _wrong_slopes([step], step.ins[kept[0]], step.outs[0], program)


def _wrong_slopes(steps: list[Step], start: int, end: int, program: Program) -> Iterator[WrongRule]:
    line = steps[-1].line
    primitives = {step.primitive for step in steps}

    def rule(mistake: str, slope: Callable[[Any, Any], Any]) -> WrongRule:
        def of_both(env: Env) -> Any:
            return _finite(slope(stopped(env[start]), stopped(env[end])))

        return WrongRule(mistake, TEXTS[mistake], end, line, None, start, of_both)

    def at_output(env: Env) -> Any:
        y = stopped(env[end])
        _, slope = jax.jvp(_replayed(steps, start, end, env, program.types), (y,), (jnp.ones_like(y),))
        return _finite(stopped(slope))

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


def _composites(program: Program) -> Iterator[WrongRule]:
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


def _by_values(program: Program) -> list[WrongRule]:
    """The gradient of one line's result, divided or multiplied by another's that fits its shape: the y in front of
    softmax's bracket, the norm that all is divided by."""
    named = _results_of_lines(program)
    pairs = [
        (abs(i - j), v, w)
        for i, v in enumerate(named)
        for j, w in enumerate(named)
        if v != w and _fits(program.types[w].shape, program.types[v].shape)
    ]
    lines = {n: step.line for step in program.steps for n in step.outs}
    rules = []
    for _, v, w in sorted(pairs)[:NEAREST]:
        for power in (-1, 1):

            def slope(env: Env, w: int = w, power: int = power) -> Any:
                return _finite(stopped(env[w]) ** power)

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
        return _finite(stopped(jnp.diag(rows).reshape(x.shape)))

    mistake = "jacobian-diagonal-only"
    return WrongRule(mistake, TEXTS[mistake], end, steps[-1].line, None, start, slope)
