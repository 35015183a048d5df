"""Of the second exam: a factor on one path. Written without sight of the checker, as all of it."""

import math

import jax.numpy as jnp

from tests.gradcheck import forwards_layers as layers
from tests.gradcheck import forwards_pointwise as pointwise
from tests.gradcheck import forwards_sequences as sequences
from tests.gradcheck.planting import plant

# ---------------------------------------------------------------- a factor on one path


@plant(
    pointwise.gelu_like,
    "counted-twice",
    line="y = 0.5 * x * (1 + t)",
    note="the 0.5 is forgotten where the gate is held constant, c = 2",
)
def gelu_gate_without_the_half(residuals, dy):
    x, t = residuals
    dinner = 0.5 * x * dy * (1 - t * t)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return ((1 + t) * dy + dinner * slope,)


@plant(
    pointwise.gelu_like,
    "wrong-scale",
    line="inner = math.sqrt(2 / math.pi) * (x + 0.044715 * cube)",
    note="the coefficient of the cube is forgotten, c = 1/0.044715: the line is the one that multiplies by it",
)
def gelu_cube_without_its_coefficient(residuals, dy):
    x, t = residuals
    dinner = 0.5 * x * dy * (1 - t * t)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * x * x)
    return (0.5 * (1 + t) * dy + dinner * slope,)


@plant(
    pointwise.leaky_relu,
    "wrong-scale",
    line="leak = 0.1 * x",
    note="the slope is multiplied in twice, c = 0.1 on the negative side",
)
def leaky_relu_slope_squared(residuals, dy):
    (x,) = residuals
    leaked = 0.1 * dy
    return (jnp.where(x > 0, dy, 0.1 * leaked),)


@plant(
    pointwise.row_mean,
    "extra-mean-divisor",
    line="y = jnp.mean(x, axis=1)",
    note="divided by the size of the whole array, c = 1/N",
)
def row_mean_over_all_elements(residuals, dy):
    (x,) = residuals
    return (jnp.broadcast_to(dy[:, None] / x.size, x.shape),)


@plant(
    pointwise.log_sum_exp,
    "path-lost",
    line="y = jnp.log(total) + shift[:, 0]",
    note="the shift is differentiated where it is subtracted, but not where it is added back",
)
def log_sum_exp_shift_not_added_back(residuals, dy):
    x, y = residuals
    at_max = jnp.where(x == jnp.max(x, axis=1, keepdims=True), 1.0, 0.0)
    return (dy[:, None] * (jnp.exp(x - y[:, None]) - at_max),)


@plant(
    pointwise.softmax,
    "counted-twice",
    line="total = jnp.sum(e, axis=1, keepdims=True)",
    note="the normaliser is subtracted twice",
)
def softmax_normaliser_twice(residuals, dy):
    (y,) = residuals
    inner = jnp.sum(y * dy, axis=1, keepdims=True)
    return (y * (dy - inner) - y * inner,)


@plant(
    pointwise.log_softmax,
    "sign-flipped",
    line="y = z - jnp.log(total)",
    note="−dy on the direct path; the path through the normaliser is right",
)
def log_softmax_direct_path_negative(residuals, dy):
    (y,) = residuals
    return (-dy - jnp.exp(y) * jnp.sum(dy, axis=1, keepdims=True),)


@plant(
    pointwise.mae,
    "missing-mean-divisor",
    line="y = jnp.mean(jnp.abs(p - t))",
    note="divided by the number of columns alone, c = N",
)
def mae_mean_of_columns_only(residuals, dy):
    p, t = residuals
    dp = jnp.sign(p - t) * dy / p.shape[1]
    return dp, -dp


@plant(
    pointwise.cross_entropy,
    "extra-mean-divisor",
    line="total = jnp.sum(jnp.exp(z), axis=1, keepdims=True)",
    note="the probabilities are averaged over the classes, c = 1/K; the one-hot is not",
)
def cross_entropy_normaliser_averaged(residuals, dy):
    p, onehot = residuals
    N, K = p.shape
    return (p / K - onehot) * dy / N, None


@plant(
    pointwise.huber,
    "wrong-scale",
    line="near = 0.5 * e**2",
    note="the half is kept but the 2 of the square forgotten, c = 1/2 near zero",
)
def huber_half_slope_near_zero(residuals, dy):
    (e,) = residuals
    slope = jnp.where(jnp.abs(e) <= 1.0, 0.5 * e, jnp.sign(e))
    dp = slope * dy / e.size
    return dp, -dp


@plant(
    pointwise.ridge,
    "missing-mean-divisor",
    line="fit = jnp.mean(e**2)",
    note="the error is averaged over the examples alone, c = O; the penalty is right",
)
def ridge_error_summed_over_outputs(residuals, dy):
    x, w, e = residuals
    de = 2 * e * dy / e.shape[0]
    return de @ w.T, x.T @ de + 0.1 * w * dy, -de


@plant(
    layers.layer_norm,
    "wrong-scale",
    line="var = jnp.mean(c**2, axis=1, keepdims=True)",
    note="d(1/√v) taken as v^(−3/2): its −1/2 is forgotten, c = −2",
)
def layer_norm_rstd_without_minus_half(residuals, dy):
    c, rstd, n, gamma = residuals
    dn = dy * gamma[None, :]
    dvar = jnp.sum(dn * c, axis=1, keepdims=True) * rstd**3
    dc = dn * rstd + dvar * 2 * c / c.shape[1]
    dx = dc - jnp.mean(dc, axis=1, keepdims=True)
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


@plant(
    layers.batch_norm,
    "extra-mean-divisor",
    line="var = jnp.mean(c * c, axis=0, keepdims=True)",
    note="the variance is taken as a mean over the features too, c = 1/D",
)
def batch_norm_variance_of_all_elements(residuals, dy):
    c, std, n, gamma = residuals
    dn = dy * gamma[None, :]
    dvar = -jnp.sum(dn * c, axis=0, keepdims=True) / (2 * std**3)
    dc = dn / std + dvar * 2 * c / c.size
    return dc - dc.mean(axis=0, keepdims=True), (dy * n).sum(axis=0), dy.sum(axis=0)


@plant(
    layers.cosine,
    "sign-flipped",
    line="dot = jnp.sum(a * b, axis=1)",
    note="the numerator enters with −1 and the norms as they should",
)
def cosine_numerator_negative(residuals, dy):
    a, b, na, nb, y = residuals
    across = (dy / (na * nb))[:, None]
    shrink = (dy * y)[:, None]
    return -across * b - shrink * a / na[:, None] ** 2, -across * a - shrink * b / nb[:, None] ** 2


@plant(
    layers.swiglu,
    "path-lost",
    line="s = a * gate",
    note="a is a constant where it meets its gate, and is differentiated inside the gate only",
)
def swiglu_only_the_gate(residuals, dy):
    x, w, v, a, b, gate = residuals
    db = dy * a * gate
    da = dy * b * a * gate * (1 - gate)
    return da @ w.T + db @ v.T, x.T @ da, x.T @ db


@plant(
    layers.low_rank,
    "extra-mean-divisor",
    line="code = x @ u",
    note="du is divided by the rank, c = 1/R on that leaf alone",
)
def low_rank_divided_by_the_rank(residuals, dy):
    x, u, v, code = residuals
    dcode = dy @ v
    return dcode @ u.T, x.T @ dcode / u.shape[1], dy.T @ code


@plant(
    sequences.tied_embedding,
    "counted-twice",
    line="rows = table[tokens]",
    note="the rows that are looked up are added twice",
)
def tied_embedding_lookup_twice(residuals, dy):
    table, tokens, h = residuals
    drows = (dy @ table) * (1 - h * h)
    return (dy.T @ h).at[tokens].add(drows).at[tokens].add(drows), None


@plant(
    sequences.max_pool,
    "wrong-scale",
    line="pairs = x[:, : 2 * M].reshape(N, M, 2)",
    note="the largest of a pair gets half, as in an average, c = 1/2",
)
def max_pool_half_to_the_largest(residuals, dy):
    x, pairs, y = residuals
    N, L = x.shape
    M = dy.shape[1]
    dpairs = jnp.where(pairs == y[:, :, None], dy[:, :, None] / 2, 0.0)
    return (jnp.pad(dpairs.reshape(N, 2 * M), ((0, 0), (0, L - 2 * M))),)
