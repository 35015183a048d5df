"""Mistakes in activations, reductions and softmax. "Note n" is a mistake that was published (the gallery)."""

import math

import jax.numpy as jnp

from tests.gradcheck import forwards_pointwise as forwards
from tests.gradcheck.planting import plant

# ---------------------------------------------------------------- elementwise


@plant(forwards.sigmoid, "ignores-cotangent", note="note 4: the derivative alone is returned")
def sigmoid_without_upstream(residuals, dy):
    _, y = residuals
    return (y * (1 - y),)


@plant(forwards.sigmoid, "derivative-at-input", note="note 3: y(1 − y) is fed x")
def sigmoid_slope_fed_the_input(residuals, dy):
    x, _ = residuals
    return (dy * x * (1 - x),)


@plant(forwards.sigmoid, "derivative-at-output", note="note 3: σ(x)σ(−x) is fed y")
def sigmoid_slope_fed_the_output(residuals, dy):
    _, y = residuals
    s = 1 / (1 + jnp.exp(-y))
    return (dy * s * (1 - s),)


@plant(forwards.sigmoid, "wrong-dtype", note="the sigmoid is recomputed in a fixed float32")
def sigmoid_in_float32(residuals, dy):
    _, y = residuals
    y = y.astype(jnp.float32)
    return (dy.astype(jnp.float32) * y * (1 - y),)


@plant(forwards.tanh, "derivative-at-output", note="note 3: 1 − tanh² is fed the output")
def tanh_slope_fed_the_output(residuals, dy):
    _, y = residuals
    return (dy * (1 - jnp.tanh(y) ** 2),)


@plant(forwards.tanh, "derivative-at-input", note="1 − y² is fed x")
def tanh_slope_fed_the_input(residuals, dy):
    x, _ = residuals
    return (dy * (1 - x * x),)


@plant(forwards.tanh, "wrong-structure", note="a bare array: the comma of the tuple is forgotten")
def tanh_without_the_tuple(residuals, dy):
    _, y = residuals
    return dy * (1 - y * y)


@plant(forwards.tanh, "cotangent-squared", note="dy is multiplied in twice")
def tanh_upstream_twice(residuals, dy):
    _, y = residuals
    slope = dy * (1 - y * y)
    return (dy * slope,)


@plant(
    forwards.relu, "wrong-mask", line="y = jnp.maximum(x, 0.0)", note="the mask is forgotten: wrong where x < 0 only"
)
def relu_passes_everything(residuals, dy):
    return (dy,)


@plant(forwards.relu, "nonlinear-in-cotangent", note="guided backpropagation: negative cotangents are dropped too")
def relu_guided(residuals, dy):
    (x,) = residuals
    return (jnp.where((x > 0) & (dy > 0), dy, 0.0),)


@plant(forwards.leaky_relu, "path-lost", line="leak = 0.1 * x", note="the derivative of the plain relu")
def leaky_relu_like_relu(residuals, dy):
    (x,) = residuals
    return (jnp.where(x > 0, dy, 0.0),)


@plant(forwards.leaky_relu, "sign-flipped", line="leak = 0.1 * x", note="−0.1 on the negative side")
def leaky_relu_negative_slope(residuals, dy):
    (x,) = residuals
    return (jnp.where(x > 0, dy, -0.1 * dy),)


@plant(forwards.gelu_like, "wrong-scale", line="cube = x**3", note="d(x³) = x²: the 3 is forgotten, c = 1/3")
def gelu_cube_without_the_three(residuals, dy):
    x, t = residuals
    dinner = 0.5 * x * dy * (1 - t * t)
    dx = 0.5 * (1 + t) * dy
    return (dx + dinner * math.sqrt(2 / math.pi) * (1 + 0.044715 * x * x),)


@plant(forwards.gelu_like, "path-lost", line="cube = x**3", note="the cubic term is taken as a constant")
def gelu_cube_lost(residuals, dy):
    x, t = residuals
    dinner = 0.5 * x * dy * (1 - t * t)
    return (0.5 * (1 + t) * dy + dinner * math.sqrt(2 / math.pi),)


@plant(
    forwards.gelu_like,
    "path-lost",
    line="inner = math.sqrt(2 / math.pi) * (x + 0.044715 * cube)",
    note="the gate is taken as a constant",
)
def gelu_gate_constant(residuals, dy):
    _, t = residuals
    return (0.5 * (1 + t) * dy,)


@plant(forwards.softplus, "path-lost", line="tail = jnp.log1p(jnp.exp(-jnp.abs(x)))", note="only max(x, 0) is derived")
def softplus_tail_lost(residuals, dy):
    (x,) = residuals
    return (jnp.where(x > 0, dy, 0.0),)


@plant(forwards.softplus, "sign-flipped", line="tail = jnp.log1p(jnp.exp(-jnp.abs(x)))", note="d(−|x|) taken as d|x|")
def softplus_tail_flipped(residuals, dy):
    (x,) = residuals
    e = jnp.exp(-jnp.abs(x))
    return (jnp.where(x > 0, dy, 0.0) + dy * jnp.sign(x) * e / (1 + e),)


@plant(forwards.dropout, "wrong-scale", line="scaled = x / 0.7", note="note 13: 1/(1 − rate) is missing, c = 0.7")
def dropout_without_rescaling(residuals, dy):
    (keep,) = residuals
    return jnp.where(keep, dy, 0.0), None


@plant(
    forwards.dropout,
    "wrong-mask",
    line="y = jnp.where(keep, scaled, 0.0)",
    note="the mask is not applied in the backward",
)
def dropout_without_mask(residuals, dy):
    return dy / 0.7, None


# ---------------------------------------------------------------- reductions


@plant(forwards.row_mean, "missing-mean-divisor", note="a whole leaf, axis D")
def row_mean_like_a_sum(residuals, dy):
    (x,) = residuals
    return (jnp.broadcast_to(dy[:, None], x.shape),)


@plant(forwards.row_mean, "wrong-shape", note="the cotangent is not spread over the axis that was reduced")
def row_mean_not_spread(residuals, dy):
    (x,) = residuals
    return (dy[:, None] / x.shape[1],)


@plant(
    forwards.log_sum_exp,
    "path-lost",
    line="z = x - shift",
    note="the shift is derived where it is added back, and not where it is subtracted (the two cancel)",
)
def log_sum_exp_half_of_the_shift(residuals, dy):
    x, y = residuals
    largest = (x == jnp.max(x, axis=1, keepdims=True)).astype(x.dtype)
    return (dy[:, None] * (jnp.exp(x - y[:, None]) + largest),)


@plant(forwards.variance, "wrong-epsilon-or-ddof", "wrong-scale", note="D − 1 for D; as a path, c = D/(D − 1)")
def variance_unbiased(residuals, dy):
    (c,) = residuals
    return (2 * c * dy[:, None] / (c.shape[1] - 1),)


@plant(forwards.variance, "missing-mean-divisor", note="a whole leaf, axis D")
def variance_like_a_sum_of_squares(residuals, dy):
    (c,) = residuals
    return (2 * c * dy[:, None],)


# ---------------------------------------------------------------- softmax


@plant(forwards.softmax, "jacobian-diagonal-only", note="notes 12 and 8: the sigmoid's derivative y(1 − y)")
def softmax_diagonal(residuals, dy):
    (y,) = residuals
    return (dy * y * (1 - y),)


@plant(
    forwards.softmax, "path-lost", line="total = jnp.sum(e, axis=1, keepdims=True)", note="the normaliser as a constant"
)
def softmax_row_sum_lost(residuals, dy):
    (y,) = residuals
    return (dy * y,)


@plant(forwards.softmax, "sign-flipped", line="total = jnp.sum(e, axis=1, keepdims=True)", note="plus for minus")
def softmax_row_sum_added(residuals, dy):
    (y,) = residuals
    return (y * (dy + jnp.sum(y * dy, axis=1, keepdims=True)),)


@plant(
    forwards.softmax,
    "extra-mean-divisor",
    line="total = jnp.sum(e, axis=1, keepdims=True)",
    note="a mean over D where the sum belongs, c = 1/D",
)
def softmax_row_mean(residuals, dy):
    (y,) = residuals
    return (y * (dy - jnp.mean(y * dy, axis=1, keepdims=True)),)


@plant(forwards.softmax, "missing-factor", note="y is left out before the bracket: dx = dy − Σ y dy; got/ref = 1/y")
def softmax_without_the_outer_factor(residuals, dy):
    (y,) = residuals
    return (dy - jnp.sum(y * dy, axis=1, keepdims=True),)


@plant(forwards.log_softmax, "jacobian-diagonal-only", note="p dy where p Σ dy belongs")
def log_softmax_diagonal(residuals, dy):
    (y,) = residuals
    return (dy * (1 - jnp.exp(y)),)


@plant(
    forwards.log_softmax,
    "path-lost",
    line="total = jnp.sum(jnp.exp(z), axis=1, keepdims=True)",
    note="the normaliser as a constant",
)
def log_softmax_normaliser_lost(residuals, dy):
    return (dy,)
