"""Pooling of images (H, W, C)."""

from .. import ops
from ..ops.windows import Padding, Pair
from ..types import Layer
from .lifting import factory, lift


def max_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Layer:
    """The maximum of every window; ``stride`` defaults to the window's size. Raises ValueError for invalid settings."""
    return lift(ops.max_pool(window, stride, padding), f"max_pool({window})")


def average_pool(window: Pair = 2, stride: Pair | None = None, padding: Padding = "VALID") -> Layer:
    """The mean of every window, padding excluded; ``stride`` defaults to the window's size.

    Raises ValueError for invalid settings.
    """
    return lift(ops.average_pool(window, stride, padding), f"average_pool({window})")


global_average_pool = factory(ops.global_average_pool, "global_average_pool")
