"""Schedules: the learning rate as a pure function of the count of updates made so far.

    schedule(count)  ->  rate          count an int32 array, 0 at the first update; rate in the default float

In the formulas t is the count and α the ``learning_rate`` of the factory. No schedule branches on the count in Python,
so all of them compile and vmap. Each factory raises ValueError if an argument is out of range.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Schedule = Callable[[Int[Array, "*T"]], Float[Array, "*T"]]

Interval = Literal["[0, 1)", "[0, 1]", "[0, ∞)", "(0, ∞)", "[1, ∞)"]

_CONTAINS: dict[Interval, Callable[[float], bool]] = {
    "[0, 1)": lambda value: 0 <= value < 1,
    "[0, 1]": lambda value: 0 <= value <= 1,
    "[0, ∞)": lambda value: 0 <= value < math.inf,
    "(0, ∞)": lambda value: 0 < value < math.inf,
    "[1, ∞)": lambda value: 1 <= value < math.inf,
}


def require(interval: Interval, **values: float) -> None:
    """Raises ValueError for a value outside ``interval``, naming it. NaN lies in no interval."""
    for name, value in values.items():
        if not _CONTAINS[interval](value):
            raise ValueError(f"{name} must lie in {interval}; got {value}")


def _real(count: Int[Array, "*T"]) -> Float[Array, "*T"]:
    """The count as a default float: an int32 divided by an integer would be float32 even if floats are float64."""
    return jnp.asarray(count, float)


def constant(learning_rate: float) -> Schedule:
    """rate = α."""
    require("[0, ∞)", learning_rate=learning_rate)
    return lambda count: jnp.full(jnp.shape(count), learning_rate, float)


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """A schedule unchanged, a number as a constant schedule."""
    return learning_rate if callable(learning_rate) else constant(learning_rate)


def step(learning_rate: float, steps: int, factor: float) -> Schedule:
    """rate = α · factor^⌊t / steps⌋: multiplied by ``factor`` after every ``steps`` updates."""
    require("[0, ∞)", learning_rate=learning_rate)
    require("[1, ∞)", steps=steps)
    require("(0, ∞)", factor=factor)
    return lambda count: learning_rate * factor ** _real(count // steps)


def exponential(learning_rate: float, steps: int, factor: float) -> Schedule:
    """rate = α · factor^(t / steps): the smooth form of ``step``."""
    require("[0, ∞)", learning_rate=learning_rate)
    require("[1, ∞)", steps=steps)
    require("(0, ∞)", factor=factor)
    return lambda count: learning_rate * factor ** (_real(count) / steps)


def inverse_time(learning_rate: float, steps: int) -> Schedule:
    """rate = α / (1 + t / steps): half of α after ``steps`` updates, a third after twice as many.

    Σ rate diverges and Σ rate² converges, the conditions of Robbins & Monro (1951) for stochastic approximation.
    """
    require("[0, ∞)", learning_rate=learning_rate)
    require("[1, ∞)", steps=steps)
    return lambda count: learning_rate / (1 + _real(count) / steps)


def cosine(learning_rate: float, steps: int, final: float = 0.0) -> Schedule:
    """rate = α · (final + (1 − final) · ½(1 + cos(π t / steps))), and α · final from t = ``steps`` on.

    Loshchilov & Hutter (2017), equation 5, without restarts; ``final`` is the fraction of α that remains.
    """
    require("[0, ∞)", learning_rate=learning_rate)
    require("[1, ∞)", steps=steps)
    require("[0, 1]", final=final)

    def schedule(count):
        angle = math.pi * jnp.minimum(_real(count) / steps, 1)
        return learning_rate * (final + (1 - final) * 0.5 * (1 + jnp.cos(angle)))

    return schedule


def warmup(steps: int, after: float | Schedule) -> Schedule:
    """rate = after(0) · t / steps while t < ``steps``, then after(t − steps).

    The ramp rises from 0 to the first rate of ``after``, whose count starts at the end of the ramp. Gradual warmup is
    due to Goyal et al. (2017), section 2.2.
    """
    require("[1, ∞)", steps=steps)
    follow = as_schedule(after)
    return lambda count: follow(jnp.maximum(count - steps, 0)) * jnp.minimum(_real(count) / steps, 1)
