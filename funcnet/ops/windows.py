"""Windows that step over an image: what convolution and pooling share. No rules of its own.

``cut`` makes of an axis one array for each tap of the window, by static slices: that of tap i holds, at p, what x has
at p·stride + i·dilation − low. ``put_back`` is its transpose. Both rows and columns are cut one after the other.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..types import ShapeError

Pair = int | tuple[int, int]
"""A setting of rows and columns; a single number is for both."""

Padding = str | tuple[tuple[int, int], tuple[int, int]]
"""``"SAME"``, ``"VALID"``, or what stands before and after, of rows and of columns."""


class Steps(NamedTuple):
    """How a window moves: settings in one form."""

    stride: tuple[int, int]
    padding: Padding
    dilation: tuple[int, int]


class Span(NamedTuple):
    """One axis: ``out`` windows on ``size`` places, before which are ``low`` padded ones, and ``high`` after them."""

    size: int
    out: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int


def whole(what: str, value: int) -> int:
    """A setting that is one number. Raises ValueError unless it is whole and at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{what} is a whole number of at least 1; got {value!r}")
    return number


def pair(what: str, value: Pair) -> tuple[int, int]:
    """(rows, columns) of a setting. Raises ValueError unless both are whole and at least 1."""
    try:
        rows, columns = (operator.index(v) for v in (value if isinstance(value, Sequence) else (value, value)))
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise ValueError(f"{what} is a whole number of at least 1, or a pair of them; got {value!r}")
    return rows, columns


def steps(name: str, stride: Pair, padding: Padding, dilation: Pair = 1) -> Steps:
    """The settings of a window that ``name`` was given. Raises ValueError where they are none."""
    if not isinstance(padding, str):
        try:
            (top, bottom), (left, right) = padding
            sides = tuple(operator.index(side) for side in (top, bottom, left, right))
        except (TypeError, ValueError):
            sides = (-1,)
    if (padding not in ("SAME", "VALID")) if isinstance(padding, str) else min(sides) < 0:
        wanted = '"SAME", "VALID" or ((top, bottom), (left, right)), none below 0'
        raise ValueError(f"{name}'s padding is {wanted}; got {padding!r}")
    return Steps(pair(f"{name}'s stride", stride), padding, pair(f"{name}'s dilation", dilation))


def reach(window: int, dilation: int) -> int:
    """How many places a window covers, from its first tap to its last."""
    return (window - 1) * dilation + 1


def spans(name: str, sizes: Sequence[int], window: Sequence[int], moves: Steps) -> tuple[Span, Span]:
    """The windows on an image of ``sizes`` (H, W).

    "VALID" pads nothing. "SAME" pads so that there are ⌈size / stride⌉ windows, half of it before, and the odd one
    after. Raises ShapeError where not one window fits.
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
                f"padding {moves.padding!r}; it expects one on which the window fits"
            )
        return Span(size, out, window[i], stride, moves.dilation[i], low, high)

    return span(0), span(1)


def cut(x: Array, axis: int, span: Span, fill: float = 0.0) -> list[Array]:
    """For each tap of the window along ``axis``, what every window has there; ``fill`` is what the padding holds."""
    around = [(0, 0, 0)] * x.ndim
    around[axis] = (span.low, span.high, 0)
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), around)
    covered = (span.out - 1) * span.stride + 1
    firsts = [tap * span.dilation for tap in range(span.window)]
    return [lax.slice_in_dim(padded, first, first + covered, span.stride, axis) for first in firsts]


def put_back(taps: Sequence[Array], axis: int, span: Span) -> Array:
    """The transpose of ``cut``: every element goes back to the place it came from, and there they add up.

    In <taps, cut(x)> the factor of x at one place is the sum of all elements of taps that were cut from it. The padding
    was no part of x: what comes from it is dropped, by padding with a negative number.
    """

    def spread(tap: int) -> Array:
        before = tap * span.dilation - span.low
        after = span.size - before - ((span.out - 1) * span.stride + 1)
        around = [(0, 0, 0)] * taps[tap].ndim
        around[axis] = (before, after, span.stride - 1)
        return lax.pad(taps[tap], jnp.zeros((), taps[tap].dtype), around)

    return functools.reduce(jnp.add, map(spread, range(span.window)))
