"""Mistakes in attention, embeddings, convolution, pooling and recurrence. "Note n" is one that was published."""

import math

import jax.numpy as jnp
from jax import lax

from tests.gradcheck import forwards_sequences as forwards
from tests.gradcheck.planting import plant

# ---------------------------------------------------------------- attention

SCALED = "scaled = products / math.sqrt(D)"
TOTAL = "total = jnp.sum(e, axis=1, keepdims=True)"


def _attention(residuals, dy, total=1.0, q_scale=1.0, k_scale=1.0):
    """The right backward with a factor on the normaliser's path, and one on dq and dk each."""
    q, k, v, _, p = residuals
    dp = dy @ v.T
    ds = p * (dp - total * jnp.sum(dp * p, axis=1, keepdims=True)) / math.sqrt(q.shape[1])
    return q_scale * ds @ k, k_scale * ds.T @ q, p.T @ dy, None


@plant(forwards.attention, "wrong-scale", line=SCALED, note="dq lacks 1/√D, dk has it; c = √D")
def attention_query_not_scaled(residuals, dy):
    return _attention(residuals, dy, q_scale=math.sqrt(dy.shape[1]))


@plant(forwards.attention, "wrong-scale", line=SCALED, note="dq and dk both lack 1/√D; c = √D")
def attention_not_scaled(residuals, dy):
    root = math.sqrt(dy.shape[1])
    return _attention(residuals, dy, q_scale=root, k_scale=root)


@plant(forwards.attention, "wrong-scale", line=SCALED, note="1/D for 1/√D; c = 1/√D")
def attention_scaled_twice(residuals, dy):
    root = math.sqrt(dy.shape[1])
    return _attention(residuals, dy, q_scale=1 / root, k_scale=1 / root)


@plant(forwards.attention, "path-lost", line=TOTAL, note="the softmax's row sum as a constant")
def attention_row_sum_lost(residuals, dy):
    return _attention(residuals, dy, total=0.0)


@plant(
    forwards.attention,
    "path-lost",
    "wrong-scale",
    line=TOTAL,
    second_line=SCALED,
    note="two at once: the row sum as a constant, and 1/√D left out of dq and dk",
)
def attention_row_sum_and_scale(residuals, dy):
    root = math.sqrt(dy.shape[1])
    return _attention(residuals, dy, total=0.0, q_scale=root, k_scale=root)


@plant(forwards.attention, "path-lost", line="products = q @ k.T", note="dk = 0: the keys as constants")
def attention_keys_constant(residuals, dy):
    return _attention(residuals, dy, k_scale=0.0)


@plant(forwards.attention, "wrong-operand-transposed", line="y = p @ v", note="dv = p dy for pᵀ dy; p is square")
def attention_weights_not_transposed(residuals, dy):
    dq, dk, _, _ = _attention(residuals, dy)
    return dq, dk, residuals[-1] @ dy, None


@plant(forwards.attention, "swapped-cotangents", note="dk and dv change places")
def attention_key_and_value_swapped(residuals, dy):
    dq, dk, dv, _ = _attention(residuals, dy)
    return dq, dv, dk, None


@plant(forwards.attention, "not-finite", note="the mask is added again as (1 − seen)·(−∞), which is NaN where seen")
def attention_mask_times_infinity(residuals, dy):
    q, k, v, seen, _ = residuals
    scores = q @ k.T / math.sqrt(q.shape[1]) + (1 - seen.astype(q.dtype)) * -jnp.inf
    e = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    return _attention((q, k, v, seen, e / jnp.sum(e, axis=1, keepdims=True)), dy)


@plant(
    forwards.attention,
    "wrong-mask",
    "unexplained",
    note="dq and dk with a softmax recomputed without the mask: a wrong mask in words, though no region is spared",
)
def attention_mask_forgotten(residuals, dy):
    q, k, v, seen, p = residuals
    scores = q @ k.T / math.sqrt(q.shape[1])
    e = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    dq, dk, _, _ = _attention((q, k, v, seen, e / jnp.sum(e, axis=1, keepdims=True)), dy)
    return dq, dk, p.T @ dy, None


# ---------------------------------------------------------------- embeddings


@plant(
    forwards.embedding,
    "scatter-overwrites",
    line="y = table[tokens]",
    note="set for add: the last of the repeated tokens wins",
)
def embedding_sets(residuals, dy):
    table, tokens = residuals
    return jnp.zeros_like(table).at[tokens].set(dy), None


@plant(forwards.embedding, "wrong-shape", note="the rows' cotangents are not scattered into the table")
def embedding_not_scattered(residuals, dy):
    return dy, None


@plant(
    forwards.tied_embedding,
    "overwritten",
    "path-lost",
    line="y = h @ table.T",
    note="of the table's two uses the output's is lost",
)
def tied_embedding_output_use_lost(residuals, dy):
    table, tokens, h = residuals
    drows = (dy @ table) * (1 - h * h)
    return jnp.zeros_like(table).at[tokens].add(drows), None


@plant(
    forwards.tied_embedding,
    "overwritten",
    "path-lost",
    line="rows = table[tokens]",
    note="of the table's two uses the input's is lost",
)
def tied_embedding_input_use_lost(residuals, dy):
    _, _, h = residuals
    return dy.T @ h, None


@plant(
    forwards.tied_embedding,
    "scatter-overwrites",
    line="rows = table[tokens]",
    note="the input's part is set at its rows of a zero table",
)
def tied_embedding_sets(residuals, dy):
    table, tokens, h = residuals
    drows = (dy @ table) * (1 - h * h)
    return dy.T @ h + jnp.zeros_like(table).at[tokens].set(drows), None


# ---------------------------------------------------------------- convolution and pooling


def _conv1d(residuals, dy, taps=(1.0, 1.0, 1.0)):
    """The right backward with a factor on what each tap gives to dx."""
    x, w = residuals
    M = dy.shape[1]
    dx = jnp.zeros_like(x)
    for j, tap in enumerate(taps):
        dx = dx.at[:, j : j + M].add(tap * dy @ w[j].T)
    return dx, jnp.stack([jnp.einsum("nmc,nmf->cf", x[:, j : j + M], dy) for j in range(3)])


@plant(forwards.conv1d, "kernel-not-flipped", note="note 11: dx by correlation with the padded cotangent")
def conv1d_by_correlation(residuals, dy):
    _, w = residuals
    _, dw = _conv1d(residuals, dy)
    L = dy.shape[1] + 2
    framed = jnp.pad(dy, ((0, 0), (2, 2), (0, 0)))
    return sum(framed[:, j : j + L] @ w[j].T for j in range(3)), dw


@plant(forwards.conv1d, "path-lost", line="left = x[:, 0:M] @ w[0]", note="the loop over taps starts at 1; dw is right")
def conv1d_first_tap_lost(residuals, dy):
    return _conv1d(residuals, dy, taps=(0.0, 1.0, 1.0))


@plant(forwards.conv1d, "counted-twice", line="middle = x[:, 1 : M + 1] @ w[1]", note="in dx alone")
def conv1d_middle_tap_twice(residuals, dy):
    return _conv1d(residuals, dy, taps=(1.0, 2.0, 1.0))


@plant(
    forwards.conv1d,
    "overwritten",
    "path-lost",
    note="dx is assigned for every tap: the last of three uses remains; as paths, left and middle are lost",
)
def conv1d_last_tap_remains(residuals, dy):
    return _conv1d(residuals, dy, taps=(0.0, 0.0, 1.0))


@plant(forwards.conv2d, "kernel-not-flipped", note="note 11: the kernel in its own order over the framed cotangent")
def conv2d_by_correlation(residuals, dy):
    image, kernel = residuals
    H, W = image.shape
    _, dkernel = forwards.conv2d.bwd(residuals, dy)
    framed = jnp.pad(dy, 2)
    shifted = [(i, j, framed[i : i + H, j : j + W]) for i in range(3) for j in range(3)]
    return sum(kernel[i, j] * part for i, j, part in shifted), dkernel


@plant(forwards.conv2d, "transposed", note="the kernel's cotangent is filled [j, i]")
def conv2d_kernel_transposed(residuals, dy):
    dimage, dkernel = forwards.conv2d.bwd(residuals, dy)
    return dimage, dkernel.T


@plant(forwards.conv2d, "wrong-shape", note="the image's cotangent by a valid convolution: the border is missing")
def conv2d_without_border(residuals, dy):
    dimage, dkernel = forwards.conv2d.bwd(residuals, dy)
    return dimage[1:-1, 1:-1], dkernel


@plant(
    forwards.max_pool,
    "wrong-mask",
    line="y = jnp.max(pairs, axis=2)",
    note="both places of a window get the cotangent, not the largest alone",
)
def max_pool_to_every_place(residuals, dy):
    x, pairs, _ = residuals
    dpairs = jnp.broadcast_to(dy[:, :, None], pairs.shape)
    N, L = x.shape
    return (jnp.pad(dpairs.reshape(N, -1), ((0, 0), (0, L - 2 * dy.shape[1]))),)


@plant(forwards.max_pool, "wrong-shape", note="the cropped last column is not given back")
def max_pool_cropped(residuals, dy):
    _, pairs, y = residuals
    return (jnp.where(pairs == y[:, :, None], dy[:, :, None], 0.0).reshape(dy.shape[0], -1),)


@plant(
    forwards.average_pool,
    "wrong-scale",
    line="y = jnp.mean(windows, axis=(1, 3))",
    note="the 4 of a window is forgotten: c = 4, and no axis's size",
)
def average_pool_like_a_sum(residuals, dy):
    (dimage,) = forwards.average_pool.bwd(residuals, dy)
    return (4 * dimage,)


# ---------------------------------------------------------------- recurrence


def _rnn_deltas(residuals, dy, recall=1.0, transposed=False, slope=True, stops=None):
    """(dh0, dz) with a factor on the path from step to step, u transposed, tanh′ left out, or gates on that path."""
    _, _, u, _, y = residuals
    back = u if transposed else u.T
    stops = jnp.ones(len(y), y.dtype) if stops is None else stops

    def step(dh, inputs):
        dy_t, y_t, stop = inputs
        dz = stop * dh + dy_t
        dz = dz * (1 - y_t * y_t) if slope else dz
        return recall * dz @ back, dz

    return lax.scan(step, jnp.zeros_like(dy[0]), (dy, y, stops), reverse=True)


def _rnn(residuals, dy, **changes):
    x, w, _, before, _ = residuals
    dh0, dz = _rnn_deltas(residuals, dy, **changes)
    return dz @ w.T, x.T @ dz, before.T @ dz, dz.sum(axis=0), dh0


@plant(forwards.rnn, "path-lost", line="recall = h @ u", note="nothing flows from step to step (dh0 = 0 with it)")
def rnn_recurrence_lost(residuals, dy):
    return _rnn(residuals, dy, recall=0.0)


@plant(forwards.rnn, "sign-flipped", line="recall = h @ u", note="what flows from step to step has the wrong sign")
def rnn_recurrence_sign(residuals, dy):
    return _rnn(residuals, dy, recall=-1.0)


@plant(
    forwards.rnn,
    "path-lost",
    "unexplained",
    line="recall = h @ u",
    note="truncated: what flows back is stopped at every third step; no one factor on the loop's edge gives it",
)
def rnn_truncated(residuals, dy):
    stops = (jnp.arange(len(dy)) % 3 != 0).astype(dy.dtype)
    return _rnn(residuals, dy, stops=stops)


@plant(forwards.rnn, "wrong-operand-transposed", line="recall = h @ u", note="dh = dz u for dz uᵀ; u is square")
def rnn_recurrent_matrix_transposed(residuals, dy):
    return _rnn(residuals, dy, transposed=True)


@plant(forwards.rnn, "missing-factor", note="tanh′ is left out")
def rnn_without_the_slope(residuals, dy):
    return _rnn(residuals, dy, slope=False)


@plant(forwards.rnn, "wrong-operand", line="recall = h @ u", note="du from h_t for h_{t−1}: off by one step")
def rnn_recurrent_weight_off_by_one(residuals, dy):
    *_, y = residuals
    dx, dw, _, db, dh0 = _rnn(residuals, dy)
    _, dz = _rnn_deltas(residuals, dy)
    return dx, dw, y.T @ dz, db, dh0


@plant(
    forwards.rnn,
    "overwritten",
    "single-example",
    note="dw, du and db are assigned at every step: that of t = 0 remains, a single one of the rows of x",
)
def rnn_first_step_remains(residuals, dy):
    x, _, _, before, _ = residuals
    dx, _, _, _, dh0 = _rnn(residuals, dy)
    _, dz = _rnn_deltas(residuals, dy)
    return dx, jnp.outer(x[0], dz[0]), jnp.outer(before[0], dz[0]), dz[0], dh0
