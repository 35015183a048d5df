"""Windows that step over an image, for convolution and pooling. No rules.

``cut`` slices an axis into one array for each tap of the window: at p, the array of tap i holds the x at
p·stride + i·dilation − low. ``put_back`` is its transpose. Rows and columns are cut one after the other.
"""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..types import ShapeError

Pair = int | tuple[int, int]
"""A setting for rows and columns; a single number sets both."""

Padding = str | tuple[tuple[int, int], tuple[int, int]]
"""``"SAME"``, ``"VALID"`` or ((top, bottom), (left, right))."""


class Steps(NamedTuple):
    """How a window moves: its settings as pairs."""

    stride: tuple[int, int]
    padding: Padding
    dilation: tuple[int, int]


class Span(NamedTuple):
    """``out`` windows along one axis of ``size`` elements, padded by ``low`` before and ``high`` after."""

    size: int
    out: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int


def whole(name: str, value: int) -> int:
    """A setting that is one integer. Raises ValueError unless it is at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
    return number


def pair(name: str, value: Pair) -> tuple[int, int]:
    """(rows, columns) of a setting. Raises ValueError unless both are integers of at least 1."""
    try:
        rows, columns = (operator.index(v) for v in (value if isinstance(value, Sequence) else (value, value)))
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise ValueError(f"{name} must be an integer of at least 1, or a pair of them; got {value!r}")
    return rows, columns


def steps(name: str, stride: Pair, padding: Padding, dilation: Pair = 1) -> Steps:
    """The settings of the windows of the rule ``name``. Raises ValueError if one is invalid."""
    if not isinstance(padding, str):
        try:
            (top, bottom), (left, right) = padding
            sides = tuple(operator.index(side) for side in (top, bottom, left, right))
        except (TypeError, ValueError):
            sides = (-1,)
    if (padding not in ("SAME", "VALID")) if isinstance(padding, str) else min(sides) < 0:
        wanted = '"SAME", "VALID" or ((top, bottom), (left, right)), none below 0'
        raise ValueError(f"{name}'s padding must be {wanted}; got {padding!r}")
    return Steps(pair(f"{name}'s stride", stride), padding, pair(f"{name}'s dilation", dilation))


def reach(window: int, dilation: int) -> int:
    """How many elements a window spans, from its first tap to its last."""
    return (window - 1) * dilation + 1


def spans(name: str, sizes: Sequence[int], window: Sequence[int], moves: Steps) -> tuple[Span, Span]:
    """The windows on an image of ``sizes`` (H, W).

    "VALID" pads nothing. "SAME" pads for ⌈size / stride⌉ windows, half before and half after; an odd one goes after.
    Raises ShapeError if no window fits.
    """

    def span(i: int) -> Span:
        size, stride, covered = sizes[i], moves.stride[i], reach(window[i], moves.dilation[i])
        low, high = 0, 0
        if moves.padding == "SAME":
            total = max((-(-size // stride) - 1) * stride + covered - size, 0)
            low, high = total // 2, total - total // 2
        elif not isinstance(moves.padding, str):
            low, high = moves.padding[i]
        out = (size + low + high - covered) // stride + 1
        if out < 1 or size < 1:
            raise ShapeError(
                f"{name} got an image of {tuple(sizes)} and a window of {tuple(window)}, dilation {moves.dilation}, "
                f"padding {moves.padding!r}; it expects an image on which the window fits"
            )
        return Span(size, out, window[i], stride, moves.dilation[i], low, high)

    return span(0), span(1)


def cut(x: Array, axis: int, span: Span, fill: float = 0.0) -> list[Array]:
    """For each tap along ``axis``, its element in every window; padded elements are ``fill``."""
    around = [(0, 0, 0)] * x.ndim
    around[axis] = (span.low, span.high, 0)
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), around)
    covered = (span.out - 1) * span.stride + 1
    firsts = [tap * span.dilation for tap in range(span.window)]
    return [lax.slice_in_dim(padded, first, first + covered, span.stride, axis) for first in firsts]


def spread(y: Array, axis: int, span: Span) -> list[Array]:
    """For each tap along ``axis``, y at the places that the tap meets in x, of size ``span.size``, and 0 elsewhere.

    <spread(y)[tap], x> = <y, cut(x)[tap]>. Places in the padding are dropped, by padding with a negative number.
    """
    return [_spread(y, tap, axis, span) for tap in range(span.window)]


def put_back(taps: Sequence[Array], axis: int, span: Span) -> Array:
    """The transpose of ``cut``: each element returns to the place it was cut from, and there they add up.

    In <taps, cut(x)> the factor of x at one place is the sum of all elements of taps that were cut from it.
    """
    return functools.reduce(jnp.add, (_spread(y, tap, axis, span) for tap, y in enumerate(taps)))


def _spread(y: Array, tap: int, axis: int, span: Span) -> Array:
    before = tap * span.dilation - span.low
    after = span.size - before - ((span.out - 1) * span.stride + 1)
    around = [(0, 0, 0)] * y.ndim
    around[axis] = (before, after, span.stride - 1)
    return lax.pad(y, jnp.zeros((), y.dtype), around)
