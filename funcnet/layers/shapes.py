"""Flatten."""

from __future__ import annotations

from .. import ops
from .lifting import factory

flatten = factory(ops.flatten, "flatten")
