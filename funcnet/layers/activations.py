"""Activations, softmax and gated units."""

from __future__ import annotations

import jax.numpy as jnp

from .. import ops
from ..types import Layer, Rule, ShapeError
from .lifting import lift


def relu() -> Layer:
    """max(x, 0)."""
    return lift(ops.relu, "relu")


def leaky_relu(slope: float = 0.01) -> Layer:
    """x if x > 0, else slope·x."""
    return lift(ops.leaky_relu(slope), f"leaky_relu({slope})")


def elu(alpha: float = 1.0) -> Layer:
    """x if x > 0, else α(eˣ − 1)."""
    return lift(ops.elu(alpha), f"elu({alpha})")


def sigmoid() -> Layer:
    """1 / (1 + e⁻ˣ)."""
    return lift(ops.sigmoid, "sigmoid")


def tanh() -> Layer:
    """tanh(x)."""
    return lift(ops.tanh, "tanh")


def gelu() -> Layer:
    """x Φ(x)."""
    return lift(ops.gelu, "gelu")


def gelu_tanh() -> Layer:
    """½ x (1 + tanh √(2/π) (x + 0.044715 x³)), the gelu of GPT-2."""
    return lift(ops.gelu_tanh, "gelu_tanh")


def silu() -> Layer:
    """x σ(x)."""
    return lift(ops.silu, "silu")


def softplus() -> Layer:
    """log(1 + eˣ)."""
    return lift(ops.softplus, "softplus")


def softmax() -> Layer:
    """Softmax over the last axis. A loss on logits is more accurate than one on its output."""
    return lift(ops.softmax, "softmax")


def log_softmax() -> Layer:
    """Log-softmax over the last axis."""
    return lift(ops.log_softmax, "log_softmax")


def _gated(rule: Rule, name: str) -> Layer:
    """A gated rule of the two halves of the last axis: the input and its gate."""

    def init(key, in_shape):
        if not in_shape or in_shape[-1] % 2:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., C) with an even C")
        return {}, (*in_shape[:-1], in_shape[-1] // 2)

    def fwd(params, x, key=None):
        if x.shape[-1] % 2:
            raise ShapeError(f"{name} got x of shape {x.shape}, expects (N, ..., C) with an even C")
        return rule.fwd(*jnp.split(x, 2, axis=-1))

    def bwd(residuals, dy):
        return {}, jnp.concatenate(rule.bwd(residuals, dy), axis=-1)

    return Layer(init, fwd, bwd, name)


def glu() -> Layer:
    """a ∘ σ(g) for x = (a, g), the two halves of the last axis: (*S, 2H) to (*S, H). Raises ShapeError."""
    return _gated(ops.glu, "glu")


def reglu() -> Layer:
    """a ∘ max(g, 0), halves as in ``glu``."""
    return _gated(ops.reglu, "reglu")


def geglu() -> Layer:
    """a ∘ gelu(g), halves as in ``glu``."""
    return _gated(ops.geglu, "geglu")


def swiglu() -> Layer:
    """a ∘ silu(g), halves as in ``glu``."""
    return _gated(ops.swiglu, "swiglu")
