"""Flatten."""

from __future__ import annotations

from .. import ops
from ..types import Layer
from .lifting import lift


def flatten() -> Layer:
    """(*S) to (∏ S,)."""
    return lift(ops.flatten, "flatten")
