"""Mistakes in forwards as other people write them: softmax, order along an axis, permutations, somebody's scan."""

import jax
import jax.numpy as jnp

from tests.gradcheck import forwards_others as forwards
from tests.gradcheck.planting import plant

# ---------------------------------------------------------------- softmax

SCORES = 'scores = jnp.einsum("qd,kd->qk", q, k) / jnp.sqrt(q.shape[-1])'
PROBS = "probs = jax.nn.softmax(scores, axis=-1)"


def _attend(residuals, dy, of_softmax):
    """The right backward, with another derivative of the softmax: ``of_softmax(probs, dprobs)``."""
    q, k, v, scores, probs = residuals
    dscores = of_softmax(scores, probs, dy @ v.T) / jnp.sqrt(q.shape[-1])
    return dscores @ k, dscores.T @ q, probs.T @ dy


@plant(forwards.attend, "missing-factor", line=PROBS, note="the Jacobian of the softmax is left out: dscores = dprobs")
def attend_without_the_softmax(residuals, dy):
    return _attend(residuals, dy, lambda scores, p, dp: dp)


@plant(forwards.attend, "wrong-axis", line=PROBS, note="Σ p dp over the queries")
def attend_softmax_summed_over_queries(residuals, dy):
    return _attend(residuals, dy, lambda scores, p, dp: p * (dp - (p * dp).sum(axis=0, keepdims=True)))


@plant(forwards.attend, "wrong-axis", line=PROBS, note="the softmax is recomputed over axis 0")
def attend_softmax_recomputed_over_queries(residuals, dy):
    def of_softmax(scores, p, dp):
        p = jax.nn.softmax(scores, axis=0)
        return p * (dp - (p * dp).sum(axis=-1, keepdims=True))

    return _attend(residuals, dy, of_softmax)


@plant(forwards.attend, "wrong-operand", line=SCORES, note="dk from the keys and not from the queries; dq is right")
def attend_keys_for_queries(residuals, dy):
    _, k, *_ = residuals
    dq, _, dv = forwards.attend.bwd(residuals, dy)
    _, dk, _ = forwards.attend.bwd((k, k, *residuals[2:]), dy)
    return dq, dk, dv


@plant(
    forwards.attend,
    "wrong-operand",
    line='return jnp.einsum("qk,kd->qd", probs, v), (q, k, v, scores, probs)',
    note="dp from k",
)
def attend_keys_for_values(residuals, dy):
    q, k, _, scores, probs = residuals
    dq, dk, _ = forwards.attend.bwd((q, k, k, scores, probs), dy)
    return dq, dk, probs.T @ dy


NORMALISED = "p = e / (e.sum(-1, keepdims=True) + 1e-8)"


@plant(forwards.masked_softmax, "wrong-axis", line=NORMALISED, note="Σ p dy over T and not over D")
def masked_softmax_summed_over_another_axis(residuals, dy):
    p, mask = residuals
    return jnp.where(mask, p * (dy - (p * dy).sum(1, keepdims=True)), 0.0), None


@plant(forwards.masked_softmax, "missing-factor", line=NORMALISED, note="the Jacobian is left out, the mask is kept")
def masked_softmax_left_out(residuals, dy):
    _, mask = residuals
    return jnp.where(mask, dy, 0.0), None


LOGP = "logp = jax.nn.log_softmax(logits)"


@plant(forwards.label_loss, "wrong-axis", line=LOGP, note="softmax over the batch")
def label_loss_softmax_over_the_batch(residuals, dy):
    logits, onehot = residuals
    return (jax.nn.softmax(logits, axis=0) - onehot) * dy / len(logits), None


# ---------------------------------------------------------------- normalisation and factors

NORM = "return g[None] * (x - mu) / jnp.sqrt(var + 1e-5) + b[None], (x, mu, var, g)"


@plant(forwards.affine_norm, "missing-factor", line=NORM, note="g is left out of dx")
def affine_norm_without_gain(residuals, dy):
    x, mu, var, g = residuals
    dx, _, _ = forwards.affine_norm.bwd((x, mu, var, jnp.ones_like(g)), dy)
    return dx, *forwards.affine_norm.bwd(residuals, dy)[1:]


@plant(forwards.affine_norm, "missing-factor", line=NORM, note="dx = dy")
def affine_norm_left_out(residuals, dy):
    return dy, *forwards.affine_norm.bwd(residuals, dy)[1:]


@plant(forwards.backward_scale, "wrong-scale", note="a factor of the backward that the forward has not")
def backward_scale_scales(residuals, dy):
    return dy * residuals, jnp.zeros_like(residuals)


@plant(forwards.quantised, "constant-forward", note="straight through: dx as if nothing were rounded")
def quantised_straight_through(residuals, dy):
    levels, w = residuals
    return dy * w[None], (dy * levels).sum(0)


# ---------------------------------------------------------------- order along an axis


@plant(
    forwards.transmittance, "reversed-axis", line="depth = jnp.cumsum(rate, axis=1)", note="cumsum without the flips"
)
def transmittance_not_flipped(residuals, dy):
    seen, colour = residuals
    return jnp.cumsum(-dy * colour * seen, axis=1), dy * seen


@plant(forwards.transmittance, "wrong-axis", line="depth = jnp.cumsum(rate, axis=1)", note="summed over the rays")
def transmittance_over_the_rays(residuals, dy):
    seen, colour = residuals
    return jnp.cumsum((-dy * colour * seen)[::-1], axis=0)[::-1], dy * seen


@plant(forwards.mirrored, "reversed-axis", line="back = h[:, ::-1]", note="the flip is left out")
def mirrored_not_flipped(residuals, dy):
    x, back, w = residuals
    return dy * w[None] * jnp.cos(x), (dy * back).sum(0)


@plant(
    forwards.mirrored,
    "reversed-axis",
    line="return back * w[None], (x, back, w)",
    note="dw from h and not from what was flipped",
)
def mirrored_weight_reversed(residuals, dy):
    dx, dw = forwards.mirrored.bwd(residuals, dy)
    return dx, dw[::-1]


@plant(forwards.rolled, "permuted", line="late = jnp.roll(h, 2, axis=1)", note="rolled the same way as the forward")
def rolled_the_same_way(residuals, dy):
    x, late, w = residuals
    return jnp.roll(dy * w[None], 2, axis=1) * jnp.cos(x), (dy * late).sum(0)


@plant(forwards.ranked, "permuted", line="ranked = x[order]", note="the cotangent is left in the order of the ranks")
def ranked_order_left_out(residuals, dy):
    _, ranked, w = residuals
    t = jnp.tanh(ranked)
    return dy * w * (1 - t * t), dy * t


@plant(forwards.ranked, "permuted", line="ranked = x[order]", note="gathered by the order once more, not scattered")
def ranked_gathered_again(residuals, dy):
    order, ranked, w = residuals
    t = jnp.tanh(ranked)
    return (dy * w * (1 - t * t))[order], dy * t


@plant(forwards.order_statistics, "permuted", line="values = jnp.sort(x, axis=-1)", note="the sort is left out")
def order_statistics_left_sorted(residuals, dy):
    _, values, w = residuals
    return jnp.outer(dy, w), values.T @ dy


# ---------------------------------------------------------------- recurrence

LEAKY = "_, y = lax.scan(step, jnp.zeros_like(x[0]), x)"
KEPT = "h = a * h + x_t"
CELL = "_, (hs, zs, candidates) = lax.scan(cell, jnp.zeros(wz.shape[1], xs.dtype), xs)"
GATE, UPDATE = "z = jax.nn.sigmoid(x @ wz + h @ uz)", "h = (1 - z) * h + z * candidate"


@plant(forwards.leaky, "reversed-axis", line=LEAKY, note="the backward runs from the first step to the last")
def leaky_run_forwards(residuals, dy):
    return forwards.leaky.bwd(residuals, dy, reverse=False)


@plant(forwards.leaky, "path-lost", line=KEPT, note="nothing is kept from step to step")
def leaky_nothing_kept(residuals, dy):
    return forwards.leaky.bwd(residuals, dy, kept=0.0)


@plant(forwards.leaky, "wrong-operand", "unexplained", note="da from h_t for h_{t−1}")
def leaky_off_by_one(residuals, dy):
    return forwards.leaky.bwd(residuals, dy, shift=0)


@plant(forwards.gated_cell, "reversed-axis", line=CELL, note="the backward runs from the first step to the last")
def gated_cell_run_forwards(residuals, dy):
    return forwards.gated_cell.bwd(residuals, dy, reverse=False)


@plant(forwards.gated_cell, "missing-factor", line=GATE, note="σ′ of the gate is left out")
def gated_cell_without_the_slope(residuals, dy):
    return forwards.gated_cell.bwd(residuals, dy, slope=jnp.ones_like)


@plant(forwards.gated_cell, "path-lost", line=UPDATE, note="of candidate − h the h is forgotten")
def gated_cell_gate_of_the_candidate_alone(residuals, dy):
    return forwards.gated_cell.bwd(residuals, dy, of_gate=lambda candidate, h: candidate)


@plant(forwards.gated_cell, "missing-factor", line=UPDATE, note="dh is kept whole, without 1 − z")
def gated_cell_everything_kept(residuals, dy):
    return forwards.gated_cell.bwd(residuals, dy, kept=jnp.ones_like)


@plant(forwards.gated_cell, "derivative-at-output", line="candidate = jnp.tanh(x @ wh)", note="1 − tanh² of the output")
def gated_cell_slope_at_output(residuals, dy):
    return forwards.gated_cell.bwd(residuals, dy, candidate_slope=lambda c: 1 - jnp.tanh(c) ** 2)


# ---------------------------------------------------------------- graphs and convolutions

SENT = "sent = h[senders] @ w"


@plant(forwards.messages, "scatter-overwrites", line=SENT, note="set for add")
def messages_set(residuals, dy):
    h, w, senders, receivers = residuals
    dsent = dy[receivers]
    return jnp.zeros_like(h).at[senders].set(dsent @ w.T), h[senders].T @ dsent, None, None


@plant(forwards.messages, "single-example", line=SENT, note="dw of the last message alone")
def messages_of_the_last(residuals, dy):
    h, _, senders, receivers = residuals
    dh, *_ = forwards.messages.bwd(residuals, dy)
    return dh, jnp.outer(h[senders[-1]], dy[receivers[-1]]), None, None


@plant(
    forwards.smoothed,
    "kernel-not-flipped",
    line='y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NLC", "LIO", "NLC"))',
    note="the kernel in its own order",
)
def smoothed_by_correlation(residuals, dy):
    return forwards.smoothed.bwd(residuals, dy, flipped=False)
