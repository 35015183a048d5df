"""Lifts a rule of one array to a layer without parameters."""

from __future__ import annotations

from ..types import Layer, Rule


def lift(rule: Rule, name: str, out_shape=lambda in_shape: in_shape) -> Layer:
    """A rule of one array as a layer without parameters; ``out_shape`` maps shapes as the rule does."""

    def init(key, in_shape):
        return {}, out_shape(in_shape)

    def fwd(params, x, key=None):
        return rule.fwd(x)

    def bwd(residuals, dy):
        (dx,) = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)
