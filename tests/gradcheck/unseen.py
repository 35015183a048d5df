"""A second exam, written from the forwards and the list of ids alone, without sight of the checker."""

import math

import jax.numpy as jnp
from jax import lax

from tests.gradcheck import forwards_layers as layers
from tests.gradcheck import forwards_pointwise as pointwise
from tests.gradcheck import forwards_sequences as sequences
from tests.gradcheck import unseen_paths
from tests.gradcheck.planting import Planted, plant

# ---------------------------------------------------------------- two at once


@plant(
    pointwise.binary_cross_entropy,
    "counted-twice",
    "sign-flipped",
    line="hinge = jnp.maximum(x, 0.0)",
    second_line="tail = jnp.log1p(jnp.exp(-jnp.abs(x)))",
    note="two at once: the step is doubled, and the tail has the sign of x where it should have the opposite",
)
def binary_cross_entropy_hinge_and_tail(residuals, dy):
    x, t = residuals
    away = 1 / (1 + jnp.exp(jnp.abs(x)))
    slope = jnp.where(x > 0, 2.0, 0.0) + jnp.sign(x) * away
    return (slope - t) * dy / x.size, -x * dy / x.size


@plant(
    layers.batch_norm,
    "path-lost",
    "sign-flipped",
    line="mean = jnp.mean(x, axis=0, keepdims=True)",
    second_line="var = jnp.mean(c * c, axis=0, keepdims=True)",
    note="two at once: the mean is a constant, and the minus of d(1/s) is forgotten",
)
def batch_norm_mean_and_variance(residuals, dy):
    _, std, n, gamma = residuals
    dn = dy * gamma[None, :]
    dx = (dn + n * jnp.mean(dn * n, axis=0, keepdims=True)) / std
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


@plant(
    sequences.conv1d,
    "path-lost",
    "counted-twice",
    line="left = x[:, 0:M] @ w[0]",
    second_line="right = x[:, 2 : M + 2] @ w[2]",
    note="two at once: for dx the taps are numbered 1, 2 and, clamped, 2 again; dw is right",
)
def conv1d_taps_from_one(residuals, dy):
    x, w = residuals
    M = dy.shape[1]
    dx = jnp.zeros_like(x)
    for tap in (1, 2, 2):
        dx = dx.at[:, tap : tap + M].add(dy @ w[tap].T)
    dw = jnp.stack([jnp.einsum("nmc,nmf->cf", x[:, j : j + M], dy) for j in range(3)])
    return dx, dw


# ---------------------------------------------------------------- other ids


@plant(
    layers.outer,
    "ignores-cotangent",
    note="the derivative of the sum of all outputs, for the first argument only",
)
def outer_sums_the_other_factor(residuals, dy):
    a, b = residuals
    return jnp.full_like(a, 1.0) * b.sum(), dy.T @ a


@plant(
    pointwise.mae,
    "wrong-mask",
    note="the slope of max(p − t, 0): wrong where p < t only",
)
def mae_one_sided(residuals, dy):
    p, t = residuals
    dp = jnp.where(p > t, dy / p.size, 0.0)
    return dp, -dp


@plant(
    layers.gated,
    "missing-factor",
    note="g(1 − g) taken as 1 − g: got/ref is the gate to the power −1",
)
def gated_slope_without_the_gate(residuals, dy):
    x1, _, gate = residuals
    return dy * gate, dy * x1 * (1 - gate)


@plant(
    layers.rms_norm,
    "jacobian-diagonal-only",
    note="only ∂yᵢ/∂xᵢ, the diagonal's share of the power included",
)
def rms_norm_diagonal(residuals, dy):
    x, rms, n, gamma = residuals
    diagonal = gamma[None, :] * (1 - n * n / x.shape[1]) / rms
    return diagonal * dy, (dy * n).sum(axis=0)


@plant(
    layers.l2_normalise,
    "wrong-epsilon-or-ddof",
    note="the norm is recomputed without its epsilon",
)
def l2_normalise_without_epsilon(residuals, dy):
    x, _, y = residuals
    norm = jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True))
    return ((dy - y * jnp.sum(dy * y, axis=1, keepdims=True)) / norm,)


@plant(
    layers.residual_block,
    "derivative-at-output",
    note="1 − tanh² is fed h = tanh(z), inside the branch",
)
def residual_block_slope_fed_h(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) / jnp.cosh(h) ** 2
    return dy + dz @ w1.T, x.T @ dz, h.T @ dy


@plant(
    layers.image_bias,
    "missing-broadcast-sum",
    note="the channel's bias is summed over images and rows, but not over columns",
)
def image_bias_columns_not_summed(residuals, dy):
    (t,) = residuals
    dx = dy * (1 - t * t)
    return dx, dx.sum(axis=(0, 2, 3)), dy.sum(axis=(0, 1))


@plant(
    sequences.attention,
    "wrong-operand-transposed",
    note="dk = ds q: the cotangent of the products should be transposed",
)
def attention_keys_like_queries(residuals, dy):
    q, k, v, _, p = residuals
    dp = dy @ v.T
    ds = p * (dp - jnp.sum(dp * p, axis=1, keepdims=True)) / math.sqrt(q.shape[1])
    return ds @ k, ds @ q, p.T @ dy, None


@plant(
    sequences.embedding,
    "scatter-overwrites",
    note="a token that occurs m times gets the mean of its m cotangents: wrong at repeated indices only",
)
def embedding_mean_of_repeats(residuals, dy):
    table, tokens = residuals
    times = jnp.zeros(table.shape[0]).at[tokens].add(1.0)
    return jnp.zeros_like(table).at[tokens].add(dy / times[tokens][:, None]), None


@plant(
    pointwise.variance,
    "nonlinear-in-cotangent",
    note="cotangents below a half are taken as zero",
)
def variance_drops_small_cotangents(residuals, dy):
    (c,) = residuals
    kept = jnp.where(jnp.abs(dy) < 0.5, 0.0, dy)
    return (2 * c * kept[:, None] / c.shape[1],)


@plant(
    sequences.rnn,
    "swapped-cotangents",
    note="the cotangents of the bias and of the first state are returned in each other's place",
)
def rnn_bias_for_first_state(residuals, dy):
    x, w, u, before, y = residuals

    def step(carried, inputs):
        dy_t, y_t = inputs
        dz = (carried + dy_t) * (1 - y_t**2)
        return dz @ u.T, dz

    dh0, dz = lax.scan(step, jnp.zeros_like(dy[0]), (dy, y), reverse=True)
    return dz @ w.T, x.T @ dz, before.T @ dz, dh0, dz.sum(axis=0)


UNSEEN: list[Planted] = [
    value for room in (vars(unseen_paths), globals()) for value in list(room.values()) if isinstance(value, Planted)
]
