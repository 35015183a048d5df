"""What a wrong local derivative is: a value whose tangent is the wrong one, to stand in for a value of the forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from ...engine.jaxprs import Line, Program, Step

Env = Mapping[int, Any]
stopped = lax.stop_gradient

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


def differentiable(step: Step, program: Program) -> list[int]:
    """The positions of its operands that a gradient flows to."""
    return [j for j, n in enumerate(step.ins) if program.is_float(n) and n not in program.constants]


def others_kept(step: Step, env: Env, position: int) -> Any:
    """The step with nothing flowing to the operand at ``position``."""
    return step.bind(*(stopped(env[n]) if j == position else env[n] for j, n in enumerate(step.ins)))[0]


def finite(slope: Any) -> Any:
    """A rule that is not switched on must not make NaN of a score of −∞."""
    return jnp.where(jnp.isfinite(slope), slope, 0.0)
