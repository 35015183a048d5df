"""Flatten."""

from .. import ops
from .lifting import factory

flatten = factory(ops.flatten, "flatten")
