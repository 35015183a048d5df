"""A worked example: a computation under a decorator that says what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import Rule


class Example(NamedTuple):
    """A number that somebody published, or two sides of an equation, and the same by funcnet.

    ``function`` returns (published, computed): both numbers, or both tuples (shapes) or words, which must be the same.
    ``decimals``: how many digits were published. ``drawn``: whether the function takes a generator for its inputs;
    the others have theirs as default arguments.
    """

    item: str
    what: str
    function: Callable[..., tuple[Any, Any]]
    decimals: int
    drawn: bool


class Row(NamedTuple):
    """The outcome of an example."""

    item: str
    what: str
    published: Any
    computed: Any
    decimals: int
    difference: float
    allowed: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.allowed


def example(item: str, what: str, decimals: int = 0) -> Callable[[Callable[..., tuple[Any, Any]]], Example]:
    """Turns the function below it into an example, of as many decimals as were published."""
    return lambda function: Example(item, what, function, decimals, drawn=False)


def law(item: str, what: str) -> Callable[[Callable[..., tuple[Any, Any]]], Example]:
    """Turns the function below it into an example of what holds for any inputs: it takes a generator to draw them."""
    return lambda function: Example(item, what, function, decimals=12, drawn=True)


def work_out(worked: Example, rng: np.random.Generator) -> Row:
    """Computes an example, in float64 unless it says otherwise."""
    with jax.enable_x64(True):
        published, computed = worked.function(rng) if worked.drawn else worked.function()
        if not isinstance(published, str | tuple):
            published, computed = np.asarray(published, np.float64), np.asarray(computed)
    difference, allowed = compare(published, computed, worked.decimals)
    return Row(worked.item, worked.what, published, computed, worked.decimals, difference, allowed)


def compare(published: Any, computed: Any, decimals: int) -> tuple[float, float]:
    """The largest difference, and the largest allowed; infinite for NaN, or if words or shapes differ.

    That is half a unit of the last published digit, and one in the last place of the dtype that was computed in: where
    all digits were published, a sum in another order has another last one.
    """
    if isinstance(published, str | tuple):
        return 0.0 if published == computed else np.inf, 0.0
    finite = np.abs(published[np.isfinite(published)]).max(initial=0)
    allowed = 0.5 * 10.0**-decimals + float(np.spacing(computed.dtype.type(finite)))
    if published.shape != computed.shape:
        return np.inf, allowed
    apart = np.zeros_like(published)
    np.subtract(published, computed, out=apart, where=published != computed)  # equal infinities are not apart
    return float(np.nan_to_num(np.abs(apart).max(initial=0), nan=np.inf)), allowed


# ---------------------------------------------------------------- how the examples call rules


def forward(rule: Rule, *args: Any) -> jax.Array:
    """The value of a rule for lists of numbers, or for arrays as they are."""
    return rule.fwd(*map(_array, args))[0]


def backward(rule: Rule, *args: Any, dy: Any = None) -> tuple[Any, ...]:
    """The rule's cotangents; ``dy`` is all ones if not given, so for one output they are its derivatives."""
    y, residuals = rule.fwd(*map(_array, args))
    return rule.bwd(residuals, jnp.ones_like(y) if dy is None else jnp.asarray(dy, y.dtype))


def _array(arg: Any) -> Any:
    return jnp.asarray(arg, float) if isinstance(arg, int | float | list) else arg
