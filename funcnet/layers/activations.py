"""Activations, softmax and gated units; the derivations are in ``funcnet.ops``."""

import jax.numpy as jnp

from .. import ops
from ..types import Layer, Rule, ShapeError, require_shape
from .lifting import factory, lift, require

relu = factory(ops.relu, "relu")
sigmoid = factory(ops.sigmoid, "sigmoid")
tanh = factory(ops.tanh, "tanh")
softplus = factory(ops.softplus, "softplus")
gelu = factory(ops.gelu, "gelu")
gelu_tanh = factory(ops.gelu_tanh, "gelu_tanh")
silu = factory(ops.silu, "silu")
softmax = factory(ops.softmax, "softmax")
log_softmax = factory(ops.log_softmax, "log_softmax")


def leaky_relu(slope: float = 0.01) -> Layer:
    """x if x > 0, else slope·x."""
    return lift(ops.leaky_relu(slope), f"leaky_relu({slope})")


def elu(alpha: float = 1.0) -> Layer:
    """x if x > 0, else α(eˣ − 1)."""
    return lift(ops.elu(alpha), f"elu({alpha})")


def gated(rule: Rule, name: str) -> Layer:
    """A gated rule of x = (a, g), the two halves of the last axis: (*S, 2H) to (*S, H). Raises ShapeError."""

    def init(key, in_shape):
        require_shape(name, in_shape)
        if not in_shape or in_shape[-1] % 2:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., C) with an even C")
        return {}, (*in_shape[:-1], in_shape[-1] // 2)

    def fwd(params, x, key=None):
        require(name, params, x)
        if x.shape[-1] % 2:
            raise ShapeError(f"{name} got x of shape {x.shape}, expects (N, ..., C) with an even C")
        return rule.fwd(*jnp.split(x, 2, axis=-1))

    def bwd(residuals, dy):
        return {}, jnp.concatenate(rule.bwd(residuals, dy), axis=-1)

    return Layer(init, fwd, bwd, name)


HALVES = " for x = (a, g), the two halves of the last axis: (*S, 2H) to (*S, H). Raises ShapeError."
glu = factory(ops.glu, "glu", gated, "y = a ∘ σ(g)" + HALVES)
reglu = factory(ops.reglu, "reglu", gated, "y = a ∘ max(g, 0)" + HALVES)
geglu = factory(ops.geglu, "geglu", gated, "y = a ∘ gelu(g)" + HALVES)
swiglu = factory(ops.swiglu, "swiglu", gated, "y = a ∘ silu(g)" + HALVES)
