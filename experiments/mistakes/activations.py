"""Mistakes in activations: the slope taken at the wrong point, or without the gradient."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from funcnet import Rule

from .published import published

# ---------------------------------------------------------------- sigmoid


def sigmoid_fwd(z: Float[Array, "N K"]):
    """a = 1 / (1 + e⁻ᶻ)."""
    a = 1 / (1 + jnp.exp(-z))
    return a, (z, a)


def sigmoid_bwd(residuals, da):
    z, a = residuals
    return (da * a / (1 + jnp.exp(z)),)  # 1 − a = 1 / (1 + eᶻ), which keeps its digits if a is nearly 1


sigmoid = Rule(sigmoid_fwd, sigmoid_bwd)


@published(
    "002", "dsigmoid(v) = v(1 − v), called with the input of sigmoid", sigmoid, "derivative-at-input",
    "a = 1 / (1 + jnp.exp(-z))",
)  # fmt: skip
def sigmoid_slope_at_input(residuals, da):
    z, _ = residuals
    return (da * z * (1 - z),)


@published("002", "dsigmoid(dvalues), called with the gradient itself", sigmoid, "nonlinear-in-cotangent")
def sigmoid_slope_at_gradient(residuals, dvalues):
    return (dvalues * (1 - dvalues),)


TAIL = np.linspace(12.0, 13.0, 35).reshape(5, 7)  # a rounds to within 2 % of 1 − a in float32, to 1e-10 in float64


@published(
    "002", "dsigmoid as a(1 − a), where a is nearly 1", sigmoid, "low-precision-accumulation",
    inputs=(TAIL,), verdict="imprecise",
)  # fmt: skip
def sigmoid_tail(residuals, da):
    _, a = residuals
    return (da * a * (1 - a),)


# ---------------------------------------------------------------- tanh, relu


def tanh_fwd(z: Float[Array, "N K"]):
    """a = tanh(z)."""
    a = jnp.tanh(z)
    return a, (a,)


def tanh_bwd(residuals, da):
    (a,) = residuals
    return (da * (1 - a**2),)


tanh = Rule(tanh_fwd, tanh_bwd)


@published(
    "002", "dtanh(v) = 1 − tanh²(v), called with the output of tanh", tanh, "derivative-at-output", "a = jnp.tanh(z)"
)
def tanh_slope_at_output(residuals, da):
    (a,) = residuals
    return (da * (1 - jnp.tanh(a) ** 2),)


def relu_fwd(z: Float[Array, "N K"]):
    """a = max(z, 0)."""
    a = jnp.maximum(z, 0)
    return a, (z,)


def relu_bwd(residuals, da):
    (z,) = residuals
    return (jnp.where(z > 0, da, 0),)


relu = Rule(relu_fwd, relu_bwd)


@published("002", "dReLU is the slope, and the gradient never enters", relu, "ignores-cotangent")
def relu_without_gradient(residuals, da):
    (z,) = residuals
    return (jnp.where(z > 0, jnp.ones_like(z), 0),)


# ---------------------------------------------------------------- softmax


def softmax_fwd(z: Float[Array, "N K"]):
    """a = eᶻ / Σ eᶻ of each row, shifted so that nothing overflows."""
    e = jnp.exp(z - z.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    return a, (a,)


def softmax_bwd(residuals, da):
    (a,) = residuals
    return (a * (da - (da * a).sum(axis=1, keepdims=True)),)


softmax = Rule(softmax_fwd, softmax_bwd)


@published("tutorials", "softmax by a(1 − a), as if each output had its own input", softmax, "jacobian-diagonal-only")
def softmax_diagonal(residuals, da):
    (a,) = residuals
    return (da * a * (1 - a),)
