"""Mistakes in normalisation. "Note n" is a mistake that was published (the gallery)."""

import jax.numpy as jnp

from tests.gradcheck import forwards_layers as forwards
from tests.gradcheck.planting import plant


def _layer_norm(residuals, dy, mean=1.0, var=1.0):
    """The right backward with a factor on the path through the mean, and one on that through the variance."""
    c, rstd, n, gamma = residuals
    D = c.shape[1]
    dn = dy * gamma[None, :]
    dvar = var * jnp.sum(dn * c, axis=1, keepdims=True) * -0.5 * rstd**3
    dc = dn * rstd + dvar * 2 * c / D
    dmean = -mean * jnp.sum(dc, axis=1, keepdims=True)
    return dc + dmean / D, (dy * n).sum(axis=0), dy.sum(axis=0)


MEAN = "mean = jnp.mean(x, axis=1, keepdims=True)"
VAR = "var = jnp.mean(c**2, axis=1, keepdims=True)"


@plant(forwards.layer_norm, "path-lost", line=MEAN, note="the mean as a constant")
def layer_norm_mean_lost(residuals, dy):
    return _layer_norm(residuals, dy, mean=0.0)


@plant(forwards.layer_norm, "path-lost", line=VAR, note="the variance as a constant")
def layer_norm_variance_lost(residuals, dy):
    return _layer_norm(residuals, dy, var=0.0)


@plant(forwards.layer_norm, "sign-flipped", line=MEAN, note="the minus of x − mean is forgotten")
def layer_norm_mean_added(residuals, dy):
    return _layer_norm(residuals, dy, mean=-1.0)


@plant(forwards.layer_norm, "sign-flipped", line=VAR, note="the minus of d(v^−½) is forgotten")
def layer_norm_variance_added(residuals, dy):
    return _layer_norm(residuals, dy, var=-1.0)


@plant(forwards.layer_norm, "counted-twice", line=VAR, note="the half of d(v^−½) is forgotten")
def layer_norm_without_the_half(residuals, dy):
    return _layer_norm(residuals, dy, var=2.0)


@plant(forwards.layer_norm, "missing-mean-divisor", line=VAR, note="the variance like a sum of squares, c = D")
def layer_norm_variance_not_divided(residuals, dy):
    return _layer_norm(residuals, dy, var=float(dy.shape[1]))


@plant(forwards.layer_norm, "missing-mean-divisor", line=MEAN, note="the mean like a sum, c = D")
def layer_norm_mean_not_divided(residuals, dy):
    return _layer_norm(residuals, dy, mean=float(dy.shape[1]))


@plant(forwards.layer_norm, "extra-mean-divisor", line=MEAN, note="the mean of dc is divided by D again, c = 1/D")
def layer_norm_mean_divided_twice(residuals, dy):
    return _layer_norm(residuals, dy, mean=1 / dy.shape[1])


@plant(
    forwards.layer_norm,
    "path-lost",
    "path-lost",
    line=MEAN,
    second_line=VAR,
    note="two at once: the mean and the variance as constants",
)
def layer_norm_statistics_constant(residuals, dy):
    return _layer_norm(residuals, dy, mean=0.0, var=0.0)


@plant(
    forwards.layer_norm,
    "path-lost",
    "counted-twice",
    line=MEAN,
    second_line=VAR,
    note="two at once: the mean as a constant, and the half of the variance forgotten",
)
def layer_norm_mean_and_half(residuals, dy):
    return _layer_norm(residuals, dy, mean=0.0, var=2.0)


@plant(forwards.layer_norm, "missing-factor", note="the gain is left out of dx")
def layer_norm_without_gain(residuals, dy):
    c, rstd, n, gamma = residuals
    dx, _, _ = _layer_norm((c, rstd, n, jnp.ones_like(gamma)), dy)
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


@plant(forwards.layer_norm, "wrong-epsilon-or-ddof", note="1/√var without the epsilon in front of dx")
def layer_norm_without_epsilon(residuals, dy):
    c, rstd, _, _ = residuals
    dx, dgamma, dbeta = _layer_norm(residuals, dy)
    without = 1 / jnp.sqrt(jnp.mean(c * c, axis=1, keepdims=True))
    return dx / rstd * without, dgamma, dbeta


@plant(forwards.layer_norm, "wrong-reduction-axis", note="dgamma and dbeta keep the reduced axis: (1, D)")
def layer_norm_gain_keeps_its_axis(residuals, dy):
    _, _, n, _ = residuals
    dx, _, _ = _layer_norm(residuals, dy)
    return dx, (dy * n).sum(axis=0, keepdims=True), dy.sum(axis=0, keepdims=True)


def _batch_norm(residuals, dy, mean=1.0, std=1.0):
    """The right backward with a factor on the path through the mean, and one on that through the deviation."""
    c, s, n, gamma = residuals
    dn = dy * gamma[None, :]
    dstd = -std * jnp.sum(dn * c, axis=0, keepdims=True) / s**2
    dc = dn / s + dstd * c / s / c.shape[0]
    dx = dc - mean * jnp.mean(dc, axis=0, keepdims=True)
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


BATCH_MEAN = "mean = jnp.mean(x, axis=0, keepdims=True)"
BATCH_VAR = "var = jnp.mean(c * c, axis=0, keepdims=True)"


@plant(forwards.batch_norm, "path-lost", line=BATCH_MEAN, note="note 13: the mean as a constant")
def batch_norm_mean_constant(residuals, dy):
    return _batch_norm(residuals, dy, mean=0.0)


@plant(forwards.batch_norm, "path-lost", line=BATCH_VAR, note="note 13: the variance as a constant")
def batch_norm_variance_constant(residuals, dy):
    return _batch_norm(residuals, dy, std=0.0)


@plant(
    forwards.batch_norm,
    "path-lost",
    "path-lost",
    line=BATCH_MEAN,
    second_line=BATCH_VAR,
    note="two at once, note 13: mean and variance as constants, which is the backward of inference",
)
def batch_norm_statistics_constant(residuals, dy):
    return _batch_norm(residuals, dy, mean=0.0, std=0.0)


@plant(
    forwards.batch_norm,
    "wrong-epsilon-or-ddof",
    "wrong-scale",
    line=BATCH_VAR,
    note="N − 1 for N in the variance's path; as a path, c = N/(N − 1)",
)
def batch_norm_unbiased(residuals, dy):
    N = dy.shape[0]
    return _batch_norm(residuals, dy, std=N / (N - 1))


@plant(
    forwards.batch_norm,
    "sign-flipped",
    "missing-mean-divisor",
    line=BATCH_MEAN,
    second_line=BATCH_VAR,
    note="two at once: the sign of the mean's path, and the variance's path not divided by N",
)
def batch_norm_mean_sign_and_variance_sum(residuals, dy):
    return _batch_norm(residuals, dy, mean=-1.0, std=float(dy.shape[0]))


POWER = "power = jnp.mean(x * x, axis=1, keepdims=True)"


@plant(forwards.rms_norm, "path-lost", line=POWER, note="the root mean square as a constant")
def rms_norm_power_lost(residuals, dy):
    _, rms, n, gamma = residuals
    return dy * gamma[None, :] / rms, (dy * n).sum(axis=0)


@plant(forwards.rms_norm, "missing-mean-divisor", line=POWER, note="a sum where the mean belongs, c = D")
def rms_norm_power_not_divided(residuals, dy):
    _, rms, n, gamma = residuals
    dn = dy * gamma[None, :]
    return (dn - n * jnp.sum(dn * n, axis=1, keepdims=True)) / rms, (dy * n).sum(axis=0)


@plant(forwards.rms_norm, "missing-factor", note="the gain is left out of dx")
def rms_norm_without_gain(residuals, dy):
    _, rms, n, _ = residuals
    return (dy - n * jnp.mean(dy * n, axis=1, keepdims=True)) / rms, (dy * n).sum(axis=0)


SQUARES = "squares = jnp.sum(x * x, axis=1, keepdims=True)"


@plant(forwards.l2_normalise, "path-lost", line=SQUARES, note="the norm as a constant")
def l2_normalise_norm_lost(residuals, dy):
    _, norm, _ = residuals
    return (dy / norm,)


@plant(forwards.l2_normalise, "sign-flipped", line=SQUARES, note="the part along y is added")
def l2_normalise_norm_added(residuals, dy):
    _, norm, y = residuals
    return ((dy + y * jnp.sum(dy * y, axis=1, keepdims=True)) / norm,)


@plant(forwards.l2_normalise, "missing-factor", note="the projection alone, without 1/norm; got/ref is the norm")
def l2_normalise_without_the_norm(residuals, dy):
    _, _, y = residuals
    return (dy - y * jnp.sum(dy * y, axis=1, keepdims=True),)


@plant(forwards.cosine, "path-lost", line="na = jnp.sqrt(jnp.sum(a * a, axis=1))", note="da with a's norm constant")
def cosine_norm_lost(residuals, dy):
    a, b, na, nb, y = residuals
    across = (dy / (na * nb))[:, None]
    return across * b, across * a - (dy * y / nb**2)[:, None] * b


@plant(
    forwards.cosine, "counted-twice", line="nb = jnp.sqrt(jnp.sum(b * b, axis=1))", note="the ½ of the root forgotten"
)
def cosine_norm_without_the_half(residuals, dy):
    a, b, na, nb, y = residuals
    across = (dy / (na * nb))[:, None]
    return across * b - (dy * y / na**2)[:, None] * a, across * a - 2 * (dy * y / nb**2)[:, None] * b
