"""Lifts a rule of one array to a layer without parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..types import Layer, Rule, Shape


def lift(rule: Rule, name: str) -> Layer:
    """A rule of one array as a layer without parameters; ``name`` is how errors and summaries call it."""

    def init(key, in_shape):
        return {}, out_shape(rule.fwd, in_shape)

    def fwd(params, x, key=None):
        return rule.fwd(x)

    def bwd(residuals, dy):
        (dx,) = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)


def factory(
    rule: Rule, name: str, make: Callable[[Rule, str], Layer] = lift, doc: str | None = None
) -> Callable[[], Layer]:
    """The layer factory ``name()`` of a rule without settings; its docstring is ``doc``, or else the rule's."""

    def layer() -> Layer:
        return make(rule, name)

    layer.__name__ = layer.__qualname__ = name
    layer.__doc__, layer.__module__ = doc or rule.fwd.__doc__, "funcnet.layers"
    return layer


def out_shape(fwd: Callable, in_shape: Shape, dtype: Any = jnp.float32) -> Shape:
    """The shape that ``fwd`` returns for one example of ``in_shape``, without computing it."""
    return jax.eval_shape(fwd, jax.ShapeDtypeStruct((1, *in_shape), dtype))[0].shape[1:]
