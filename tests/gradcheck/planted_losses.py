"""Mistakes in losses. "Note n" is a mistake that was published (the gallery)."""

import jax.numpy as jnp

from tests.gradcheck import forwards_pointwise as forwards
from tests.gradcheck.planting import plant


@plant(forwards.mse, "missing-mean-divisor", note="note 1: 2(a − y)/N, the mean is over N·K; a whole leaf, axis K")
def mse_divided_by_rows_alone(residuals, dy):
    (e,) = residuals
    dp = 2 * e * dy / e.shape[0]
    return dp, -dp


@plant(forwards.mse, "extra-mean-divisor", note="note 6: 1/N a second time; a whole leaf, axis N")
def mse_divided_by_rows_twice(residuals, dy):
    (e,) = residuals
    dp = 2 * e * dy / e.size / e.shape[0]
    return dp, -dp


@plant(forwards.mse, "wrong-scale", line="squares = e**2", note="the 2 is forgotten, as if the loss had a half")
def mse_without_the_two(residuals, dy):
    (e,) = residuals
    dp = e * dy / e.size
    return dp, -dp


@plant(forwards.mse, "sign-flipped", line="e = p - t", note="dt with the sign of dp; dp is right")
def mse_target_sign(residuals, dy):
    (e,) = residuals
    dp = 2 * e * dy / e.size
    return dp, dp


@plant(forwards.mae, "sign-flipped", line="y = jnp.mean(jnp.abs(p - t))", note="note 10: sign(y_true − y)")
def mae_sign_of_the_target_minus_prediction(residuals, dy):
    p, t = residuals
    dp = jnp.sign(t - p) * dy / p.size
    return dp, -dp


@plant(
    forwards.cross_entropy,
    "path-lost",
    line="log_p = z - jnp.log(total)",
    note="p for p − onehot: as a path, z itself in log_p is lost",
)
def cross_entropy_without_one_hot(residuals, dy):
    p, _ = residuals
    return p * dy / p.shape[0], None


@plant(
    forwards.cross_entropy,
    "missing-mean-divisor",
    line="log_p = z - jnp.log(total)",
    note="p is divided by N before 1 is subtracted at the label: c = N on the path of z itself",
)
def cross_entropy_one_subtracted_after_the_mean(residuals, dy):
    p, onehot = residuals
    return (p / p.shape[0] - onehot) * dy, None


@plant(
    forwards.cross_entropy,
    "path-lost",
    line="total = jnp.sum(jnp.exp(z), axis=1, keepdims=True)",
    note="only the label's logit gets a gradient",
)
def cross_entropy_normaliser_lost(residuals, dy):
    p, onehot = residuals
    return -onehot * dy / p.shape[0], None


@plant(forwards.cross_entropy, "jacobian-diagonal-only", note="note 8: −t/p times p(1 − p), zero off the target")
def cross_entropy_with_the_slope_of_sigmoid(residuals, dy):
    p, onehot = residuals
    return -onehot / p * p * (1 - p) * dy / p.shape[0], None


@plant(forwards.cross_entropy, "ignores-cotangent", note="note 4: (p − onehot)/N, right for dy = 1 alone")
def cross_entropy_without_upstream(residuals, dy):
    p, onehot = residuals
    return (p - onehot) / p.shape[0], None


@plant(forwards.cross_entropy, "missing-mean-divisor", note="a whole leaf, axis N")
def cross_entropy_not_averaged(residuals, dy):
    p, onehot = residuals
    return (p - onehot) * dy, None


@plant(
    forwards.cross_entropy, "extra-mean-divisor", note="divided by every element of the logits; a whole leaf, axis K"
)
def cross_entropy_averaged_over_classes(residuals, dy):
    p, onehot = residuals
    return (p - onehot) * dy / p.size, None


@plant(forwards.cross_entropy, "wrong-structure", note="nothing is returned for the labels")
def cross_entropy_forgets_the_labels(residuals, dy):
    p, onehot = residuals
    return ((p - onehot) * dy / p.shape[0],)


@plant(forwards.cross_entropy, "wrong-structure", "wrong-dtype", note="a float cotangent for integer labels, not None")
def cross_entropy_derives_the_labels(residuals, dy):
    p, onehot = residuals
    return (p - onehot) * dy / p.shape[0], jnp.zeros_like(p[:, 0])


@plant(forwards.cross_entropy, "not-finite", note="note 14: the loss is rebuilt as t log t − t log p, and log 0 is met")
def cross_entropy_log_of_zero(residuals, dy):
    p, onehot = residuals
    divergence = jnp.sum(onehot * jnp.log(onehot) - onehot * jnp.log(p), axis=1, keepdims=True)
    return (p - onehot) * dy / p.shape[0] * (divergence / divergence), None


@plant(forwards.binary_cross_entropy, "path-lost", line="linear = x * t", note="dx = σ(x), the target is forgotten")
def binary_cross_entropy_without_target(residuals, dy):
    x, _ = residuals
    return dy / (1 + jnp.exp(-x)) / x.size, -x * dy / x.size


@plant(forwards.binary_cross_entropy, "sign-flipped", line="linear = x * t", note="dt = x, the minus is forgotten")
def binary_cross_entropy_target_sign(residuals, dy):
    x, t = residuals
    return (1 / (1 + jnp.exp(-x)) - t) * dy / x.size, x * dy / x.size


@plant(
    forwards.binary_cross_entropy,
    "path-lost",
    "sign-flipped",
    line="tail = jnp.log1p(jnp.exp(-jnp.abs(x)))",
    second_line="linear = x * t",
    note="two at once: the tail is lost in dx, and dt has the wrong sign",
)
def binary_cross_entropy_tail_and_target_sign(residuals, dy):
    x, t = residuals
    return (jnp.where(x > 0, 1.0, 0.0) - t) * dy / x.size, x * dy / x.size


@plant(
    forwards.huber,
    "wrong-mask",
    line="terms = jnp.where(jnp.abs(e) <= 1.0, near, far)",
    note="the quadratic branch everywhere: wrong where |e| > 1 only",
)
def huber_quadratic_everywhere(residuals, dy):
    (e,) = residuals
    dp = e * dy / e.size
    return dp, -dp


@plant(forwards.huber, "path-lost", line="far = jnp.abs(e) - 0.5", note="zero beyond the threshold")
def huber_zero_far_away(residuals, dy):
    (e,) = residuals
    dp = jnp.where(jnp.abs(e) <= 1.0, e, 0.0) * dy / e.size
    return dp, -dp


@plant(forwards.huber, "counted-twice", line="near = 0.5 * e**2", note="2e near zero: the half is forgotten")
def huber_without_the_half(residuals, dy):
    (e,) = residuals
    dp = jnp.where(jnp.abs(e) <= 1.0, 2 * e, jnp.sign(e)) * dy / e.size
    return dp, -dp


@plant(
    forwards.ridge,
    "path-lost",
    line="penalty = 0.05 * jnp.sum(w**2)",
    note="dw without λw",
)
def ridge_without_penalty(residuals, dy):
    x, w, e = residuals
    de = 2 * e * dy / e.size
    return de @ w.T, x.T @ de, -de


@plant(forwards.ridge, "wrong-scale", line="penalty = 0.05 * jnp.sum(w**2)", note="λw for 2λw, c = 1/2")
def ridge_half_penalty(residuals, dy):
    x, w, e = residuals
    de = 2 * e * dy / e.size
    return de @ w.T, x.T @ de + 0.05 * w * dy, -de


@plant(
    forwards.ridge,
    "sign-flipped",
    "missing-mean-divisor",
    line="penalty = 0.05 * jnp.sum(w**2)",
    second_line="fit = jnp.mean(e**2)",
    note="two at once: the penalty's sign, and the mean of the fit divided by N and not by N·O (axis O)",
)
def ridge_penalty_sign_and_mean(residuals, dy):
    x, w, e = residuals
    de = 2 * e * dy / e.shape[0]
    return de @ w.T, x.T @ de - 0.1 * w * dy, -de
