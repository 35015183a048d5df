"""A slip: a wrong local derivative of one value of the forward, written as the derivative of something else."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ...engine.jaxprs import Line, Program, Step
from ...tolerances import REACH

Env = Mapping[int, Any]
stopped = lax.stop_gradient

# fmt: off
SMOOTH = frozenset({
    "tanh", "logistic", "exp", "exp2", "log", "log1p", "expm1", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "integer_pow", "pow", "square",
    "abs",
})
ELEMENTWISE = SMOOTH | {
    "max", "min", "select_n", "clamp", "add", "add_any", "sub", "mul", "div", "neg", "sign", "copy",
    "convert_element_type",
}
# fmt: on


LEFT_OUT = "passes through this line as it is: the whole derivative of the line is left out"


class Slip(NamedTuple):
    """Exchanges the gradient of the value with number ``value`` for the gradient of ``stand_in(env)``.

    ``env`` holds all values of the forward, the later ones as constants; inside a loop only the earlier ones.
    If the stand-in is the value ``start`` times a slope, ``slope(env)`` is given in its place.
    An empty ``text`` leaves the words to the table of mistakes.
    """

    mistake: str
    value: int
    line: Line
    stand_in: Callable[[Env], Any] | None = None
    text: str = ""
    start: int = -1
    slope: Callable[[Env], Any] | None = None


def differentiable(step: Step, program: Program) -> list[int]:
    """The positions of its operands that a gradient flows to."""
    return [j for j, n in enumerate(step.ins) if program.is_float(n) and n not in program.constants]


def without(step: Step, env: Env, position: int) -> Any:
    """The step with no gradient to the operand at ``position``."""
    return step.bind(*(stopped(env[n]) if j == position else env[n] for j, n in enumerate(step.ins)))[0]


def by_one(step: Step, env: Env, position: int, other: Any = None) -> Any:
    """The step with a gradient to the operand at ``position`` alone; ``other`` stands in for the other operand."""
    others = [stopped(env[n]) if other is None else other for n in step.ins]
    return step.bind(*(env[n] if j == position else others[j] for j, n in enumerate(step.ins)))[0]


def results_of_lines(program: Program) -> list[int]:
    """The last float value of each line, and the outputs: a derivation by hand has names for these."""
    made = [(step.line[:2], n) for step in program.steps for n in step.outs if program.is_float(n)]
    return list(dict.fromkeys(dict(made).values()))


def before(end: int, made_by: dict[int, Step], program: Program, reach: int = REACH) -> list[Step]:
    """The last ``reach`` steps that lead to a value, in program order."""
    order = {n: i for i, n in enumerate(made_by)}
    found: dict[int, Step] = {}
    front = {end}
    while front and len(found) < reach:
        number = max(front, key=lambda n: order.get(n, -1))
        front.remove(number)
        if (step := made_by.get(number)) is not None and id(step) not in found:
            found[id(step)] = step
            front |= {n for n in step.ins if program.is_float(n) and n not in program.constants}
    return [*found.values()][::-1]


def finite_or_zero(slope: Any) -> Any:
    """Zeros for NaN and infinity: a slip that is not switched on must not make NaN of a score of −∞."""
    return jnp.where(jnp.isfinite(slope), slope, 0.0)


@jax.custom_jvp
def exchanged(v, u, s):
    """v, with the gradient of u instead of its own if s is 1."""
    return v


@exchanged.defjvp
def _exchanged_jvp(primals, tangents):
    v, _, s = primals
    s = jnp.asarray(s, v.dtype)
    return v, (1 - s) * tangents[0] + s * tangents[1]
