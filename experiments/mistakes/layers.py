"""Mistakes in layers: a neuron, a dense layer, dropout, batch norm, a convolution."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from funcnet import Rule

from .published import published

# ---------------------------------------------------------------- a neuron of four inputs


def neuron_fwd(x: Float[Array, "N 4"], w: Float[Array, "4"], b: Float[Array, ""]):
    """The weighted sum of four inputs: z (N,)."""
    z = x[:, 0] * w[0] + x[:, 1] * w[1] + x[:, 2] * w[2] + b
    z = z + x[:, 3] * w[3]
    return z, (x, w)


def neuron_bwd(residuals, dz):
    x, w = residuals
    return dz[:, None] * w[None, :], x.T @ dz, dz.sum()


neuron = Rule(neuron_fwd, neuron_bwd)


@published("002", "a neuron of four inputs that sums three", neuron, "path-lost", "z = z + x[:, 3] * w[3]")
def neuron_of_three_inputs(residuals, dz):
    x, w = residuals
    dx, dw = dz[:, None] * w[None, :], x.T @ dz
    return dx.at[:, 3].set(0), dw.at[3].set(0), dz.sum()


# ---------------------------------------------------------------- a dense layer


def layer_fwd(x: Float[Array, "N I"], w: Float[Array, "I O"], b: Float[Array, "O"]):
    """a = relu(xw + b)."""
    z = x @ w + b
    a = jnp.maximum(z, 0)
    return a, (x, w, a)


def layer_bwd(residuals, da):
    x, w, a = residuals
    dz = jnp.where(a > 0, da, 0)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


layer = Rule(layer_fwd, layer_bwd)


@published("001", "∂X from weights that are already updated", layer, "updated-weights")
def layer_updated_first(residuals, da, learning_rate=0.01):
    x, w, a = residuals
    dz = jnp.where(a > 0, da, 0)
    dw = x.T @ dz
    w = w - learning_rate * dw
    return dz @ w.T, dw, dz.sum(axis=0)


@published("tutorials", "∂B = sum(∇Z), over the units as well", layer, "wrong-reduction-axis", line="z = x @ w + b")
def layer_bias_summed_over_units(residuals, da):
    x, w, a = residuals
    dz = jnp.where(a > 0, da, 0)
    db = jnp.full_like(dz[0], 1) * dz.sum()  # one number, which numpy spreads over b in the update
    return dz @ w.T, x.T @ dz, db


# ---------------------------------------------------------------- dropout


def dropout_fwd(x: Float[Array, "N D"], keep: Bool[Array, "N D"]):
    """Inverted dropout at rate 0.4."""
    scaled = x / 0.6
    y = jnp.where(keep, scaled, 0)
    return y, (keep,)


def dropout_bwd(residuals, dy):
    (keep,) = residuals
    return jnp.where(keep, dy / 0.6, 0), None


dropout = Rule(dropout_fwd, dropout_bwd)


@published("tutorials", "dropout at rate 0.4 without 1/(1 − rate)", dropout, "wrong-scale", "scaled = x / 0.6")
def dropout_unscaled(residuals, dy):
    (keep,) = residuals
    return jnp.where(keep, dy, 0), None


# ---------------------------------------------------------------- batch norm

MEAN_LINE = "mean = x.mean(0, keepdims=True)"
VAR_LINE = "var = (c * c).mean(0, keepdims=True)"


def batch_norm_fwd(x: Float[Array, "N D"]):
    """Each column brought to mean 0 and variance 1."""
    mean = x.mean(0, keepdims=True)
    c = x - mean
    var = (c * c).mean(0, keepdims=True)
    std = jnp.sqrt(var + 1e-5)
    y = c / std
    return y, (c, std)


def _gradient_of_centred(residuals, dy):
    c, std = residuals
    return dy / std - c * (dy * c).mean(axis=0, keepdims=True) / std**3


def batch_norm_bwd(residuals, dy):
    dc = _gradient_of_centred(residuals, dy)
    return (dc - dc.mean(axis=0, keepdims=True),)


batch_norm = Rule(batch_norm_fwd, batch_norm_bwd)


@published("tutorials", "batch norm: the mean as a constant", batch_norm, "path-lost", MEAN_LINE)
def batch_norm_mean_constant(residuals, dy):
    return (_gradient_of_centred(residuals, dy),)


@published("tutorials", "batch norm: the variance as a constant", batch_norm, "path-lost", VAR_LINE)
def batch_norm_variance_constant(residuals, dy):
    _, std = residuals
    dc = dy / std
    return (dc - dc.mean(axis=0, keepdims=True),)


# ---------------------------------------------------------------- convolution


def convolution_fwd(x: Float[Array, "N L"], w: Float[Array, "3"]):
    """Three taps along each row: y (N, L − 2)."""
    M = x.shape[1] - 2
    y = x[:, :M] * w[0] + x[:, 1 : M + 1] * w[1] + x[:, 2:] * w[2]
    return y, (x, w)


def _convolution_gradients(x, dy, taps):
    L, M = x.shape[1], dy.shape[1]
    framed = jnp.pad(dy, ((0, 0), (2, 2)))
    dx = framed[:, :L] * taps[0] + framed[:, 1 : L + 1] * taps[1] + framed[:, 2:] * taps[2]
    return dx, jnp.stack([(x[:, j : j + M] * dy).sum() for j in range(3)])


def convolution_bwd(residuals, dy):
    x, w = residuals
    return _convolution_gradients(x, dy, w[::-1])


convolution = Rule(convolution_fwd, convolution_bwd)


@published("tutorials", "∂X of a convolution with the kernel not turned round", convolution, "kernel-not-flipped")
def convolution_not_flipped(residuals, dy):
    x, w = residuals
    return _convolution_gradients(x, dy, w)
