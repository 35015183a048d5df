"""Mistakes in dense maps, gates, residual blocks and products. "Note n" is one that was published."""

import jax.numpy as jnp

from tests.gradcheck import forwards_layers as forwards
from tests.gradcheck.planting import plant

# ---------------------------------------------------------------- dense maps


@plant(
    forwards.dense,
    "missing-broadcast-sum",
    line="y = x @ w + b[None, :]",
    note="db = dy, with the batch axis still in it",
)
def dense_bias_not_summed(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy


@plant(
    forwards.dense,
    "wrong-reduction-axis",
    line="y = x @ w + b[None, :]",
    note="note 9: summed over units as well as samples",
)
def dense_bias_summed_over_everything(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, jnp.full(w.shape[1], dy.sum())


@plant(forwards.dense, "wrong-reduction-axis", note="columns for rows: db has shape (N,)")
def dense_bias_summed_over_units(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy.sum(axis=1)


@plant(forwards.dense, "wrong-reduction-axis", note="keepdims: db has shape (1, O)")
def dense_bias_keeps_its_axis(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy.sum(axis=0, keepdims=True)


@plant(forwards.dense, "transposed", line="y = x @ w + b[None, :]", note="dw in the shape (O, I)")
def dense_weight_transposed(residuals, dy):
    x, w = residuals
    return dy @ w.T, dy.T @ x, dy.sum(axis=0)


@plant(
    forwards.dense,
    "single-example",
    line="y = x @ w + b[None, :]",
    note="dw from the last example alone, as after a loop that assigns",
)
def dense_weight_of_the_last_example(residuals, dy):
    x, w = residuals
    return dy @ w.T, jnp.outer(x[-1], dy[-1]), dy.sum(axis=0)


@plant(forwards.dense, "extra-mean-divisor", note="note 6: 1/N in dw and db, though dy has it already; axis N")
def dense_divided_by_the_batch(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy / x.shape[0], dy.mean(axis=0)


@plant(forwards.dense, "swapped-cotangents", note="in the order w, x, b")
def dense_out_of_order(residuals, dy):
    x, w = residuals
    return x.T @ dy, dy @ w.T, dy.sum(axis=0)


@plant(forwards.dense, "wrong-structure", note="dy @ w does not fit and raises")
def dense_raises(residuals, dy):
    x, w = residuals
    return dy @ w, x.T @ dy, dy.sum(axis=0)


@plant(forwards.dense_sigmoid, "missing-factor", note="note 5: dw and db from da, without σ′; dx is right")
def dense_sigmoid_weight_without_slope(residuals, dy):
    x, w, _, a = residuals
    dz = dy * a * (1 - a)
    return dz @ w.T, x.T @ dy, dy.sum(axis=0)


@plant(forwards.dense_sigmoid, "missing-factor", note="note 7: dx from da and not from dz; dw and db are right")
def dense_sigmoid_input_without_slope(residuals, dy):
    x, w, _, a = residuals
    dz = dy * a * (1 - a)
    return dy @ w.T, x.T @ dz, dz.sum(axis=0)


@plant(forwards.dense_sigmoid, "derivative-at-input", note="note 3: a(1 − a) is fed z, inside a layer")
def dense_sigmoid_slope_fed_the_input(residuals, dy):
    x, w, z, _ = residuals
    dz = dy * z * (1 - z)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


@plant(forwards.dense_sigmoid, "ignores-cotangent", note="note 4: the layer's own derivative, nothing from above")
def dense_sigmoid_without_upstream(residuals, dy):
    x, w, _, a = residuals
    dz = a * (1 - a)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


@plant(forwards.mlp, "updated-weights", note="note 2: dh through w2 − 0.1 dw2")
def mlp_through_updated_weights(residuals, dy):
    x, w1, h, w2 = residuals
    dw2 = h.T @ dy
    dh = dy @ (w2 - 0.1 * dw2).T
    dz = dh * (1 - h * h)
    return dz @ w1.T, x.T @ dz, dz.sum(axis=0), dw2, dy.sum(axis=0)


@plant(forwards.mlp, "missing-factor", note="the hidden layer's tanh′ is left out")
def mlp_without_the_hidden_slope(residuals, dy):
    x, w1, h, w2 = residuals
    dz = dy @ w2.T
    return dz @ w1.T, x.T @ dz, dz.sum(axis=0), h.T @ dy, dy.sum(axis=0)


@plant(forwards.mlp, "nonlinear-in-cotangent", note="the delta is clipped inside the backward")
def mlp_clips_the_delta(residuals, dy):
    x, w1, h, w2 = residuals
    dz = jnp.clip((dy @ w2.T) * (1 - h * h), -0.5, 0.5)
    return dz @ w1.T, x.T @ dz, dz.sum(axis=0), h.T @ dy, dy.sum(axis=0)


@plant(forwards.mlp, "swapped-cotangents", note="db1 and db2 change places")
def mlp_biases_swapped(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dz @ w1.T, x.T @ dz, dy.sum(axis=0), h.T @ dy, dz.sum(axis=0)


@plant(forwards.mlp, "derivative-at-output", note="1 − tanh(h)², h being tanh(z) already")
def mlp_slope_fed_the_output(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - jnp.tanh(h) ** 2)
    return dz @ w1.T, x.T @ dz, dz.sum(axis=0), h.T @ dy, dy.sum(axis=0)


@plant(forwards.mlp, "single-example", line="z = x @ w1 + b1[None, :]", note="db1 from the first example alone")
def mlp_bias_of_the_first_example(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dz @ w1.T, x.T @ dz, dz[0], h.T @ dy, dy.sum(axis=0)


@plant(forwards.scale, "rank-assumption", note="sums over axis 0 alone: right for one leading axis only")
def scale_for_matrices_alone(residuals, dy):
    x, g = residuals
    return dy * g, (dy * x).sum(axis=0)


@plant(forwards.image_bias, "missing-broadcast-sum", note="the channel's cotangent keeps the batch axis")
def image_bias_channel_not_summed_over_the_batch(residuals, dy):
    (t,) = residuals
    dx = dy * (1 - t * t)
    return dx, dx.sum(axis=(0, 2, 3)), dy.sum(axis=(1, 2))


@plant(forwards.image_bias, "extra-mean-divisor", note="a mean over N where the sum belongs; a whole leaf, axis N")
def image_bias_row_averaged_over_the_batch(residuals, dy):
    (t,) = residuals
    dx = dy * (1 - t * t)
    return dx, dx.sum(axis=(2, 3)).mean(axis=0), dy.sum(axis=(0, 1, 2))


# ---------------------------------------------------------------- gates and residuals


@plant(forwards.gated, "missing-factor", note="σ′ is left out of the gate's cotangent")
def gated_without_the_slope(residuals, dy):
    x1, _, gate = residuals
    return dy * gate, dy * x1


@plant(forwards.gated, "path-lost", line="gate = 1 / (1 + jnp.exp(-x2))", note="the gate as a constant: dx2 = 0")
def gated_gate_constant(residuals, dy):
    _, _, gate = residuals
    return dy * gate, jnp.zeros_like(dy)


@plant(forwards.gated, "swapped-cotangents", note="dx2, dx1")
def gated_out_of_order(residuals, dy):
    x1, _, gate = residuals
    return dy * x1 * gate * (1 - gate), dy * gate


@plant(forwards.gated, "derivative-at-input", note="gate(1 − gate) is fed x2")
def gated_slope_fed_the_input(residuals, dy):
    x1, x2, gate = residuals
    return dy * gate, dy * x1 * x2 * (1 - x2)


@plant(forwards.gated, "cotangent-squared", note="dx2 from dx1, which holds dy already, times dy; dx1 is right")
def gated_upstream_twice(residuals, dy):
    x1, _, gate = residuals
    dx1 = dy * gate
    return dx1, dy * x1 * dx1 * (1 - gate)


def _swiglu(residuals, dy, through_gate=1.0, through_a=1.0, through_b=1.0):
    x, w, v, a, b, gate = residuals
    ds = dy * b
    db = dy * a * gate
    da = ds * gate + through_gate * ds * a * gate * (1 - gate)
    return through_a * da @ w.T + through_b * db @ v.T, x.T @ da, x.T @ db


@plant(forwards.swiglu, "path-lost", line="gate = 1 / (1 + jnp.exp(-a))", note="the gate as a constant")
def swiglu_gate_constant(residuals, dy):
    return _swiglu(residuals, dy, through_gate=0.0)


@plant(forwards.swiglu, "sign-flipped", line="gate = 1 / (1 + jnp.exp(-a))", note="σ′ = gate(gate − 1)")
def swiglu_gate_sign(residuals, dy):
    return _swiglu(residuals, dy, through_gate=-1.0)


@plant(
    forwards.swiglu, "path-lost", "overwritten", line="b = x @ v", note="dx of the first branch only; dw, dv are right"
)
def swiglu_second_branch_lost(residuals, dy):
    return _swiglu(residuals, dy, through_b=0.0)


@plant(forwards.swiglu, "counted-twice", line="a = x @ w", note="dx gets the first branch twice; dw, dv are right")
def swiglu_first_branch_twice(residuals, dy):
    return _swiglu(residuals, dy, through_a=2.0)


@plant(
    forwards.swiglu,
    "path-lost",
    "counted-twice",
    line="gate = 1 / (1 + jnp.exp(-a))",
    second_line="b = x @ v",
    note="two at once: the gate as a constant, and the second branch twice in dx",
)
def swiglu_gate_and_second_branch(residuals, dy):
    return _swiglu(residuals, dy, through_gate=0.0, through_b=2.0)


@plant(forwards.residual_block, "path-lost", line="y = x + branch", note="the skip is forgotten in dx")
def residual_skip_lost(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dz @ w1.T, x.T @ dz, h.T @ dy


@plant(forwards.residual_block, "counted-twice", line="y = x + branch", note="the skip is added at both ends")
def residual_skip_twice(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dy + dz @ w1.T + dy, x.T @ dz, h.T @ dy


@plant(forwards.residual_block, "path-lost", line="z = x @ w1", note="dx is the skip alone; dw1 and dw2 are right")
def residual_branch_lost(residuals, dy):
    x, _, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dy, x.T @ dz, h.T @ dy


# ---------------------------------------------------------------- products


@plant(forwards.bilinear, "wrong-operand-transposed", note="z @ a for z @ aᵀ")
def bilinear_operand_transposed(residuals, dy):
    x, a, z = residuals
    da = jnp.einsum("n,ni,nj->ij", dy, x, z)
    return dy[:, None] * (z @ a), da, dy[:, None] * (x @ a)


@plant(
    forwards.bilinear,
    "transposed",
    line='y = jnp.einsum("ni,ij,nj->n", x, a, z)',
    note="da has its axes exchanged, and is square",
)
def bilinear_matrix_transposed(residuals, dy):
    x, a, z = residuals
    da = jnp.einsum("n,ni,nj->ji", dy, x, z)
    return dy[:, None] * (z @ a.T), da, dy[:, None] * (x @ a)


@plant(forwards.low_rank, "transposed", line="y = code @ v.T", note="dv = codeᵀ dy, of shape (R, O)")
def low_rank_factor_transposed(residuals, dy):
    x, u, v, code = residuals
    dcode = dy @ v
    return dcode @ u.T, x.T @ dcode, code.T @ dy


@plant(forwards.outer, "missing-factor", note="da = Σ dy, without b; db is right")
def outer_without_the_other_factor(residuals, dy):
    a, _ = residuals
    return dy.sum(axis=1), dy.T @ a
