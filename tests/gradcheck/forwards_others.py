"""Forwards as other people write them, each with its right backward: several steps a line, and JAX's own functions."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from funcnet.types import Below, Residuals, Rule

# ---------------------------------------------------------------- softmax


def attend_fwd(
    q: Float[Array, "T D"], k: Float[Array, "T D"], v: Float[Array, "T D"]
) -> tuple[Float[Array, "T D"], Residuals]:
    scores = jnp.einsum("qd,kd->qk", q, k) / jnp.sqrt(q.shape[-1])
    probs = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("qk,kd->qd", probs, v), (q, k, v, scores, probs)


def attend_bwd(residuals, dy):
    q, k, v, _, probs = residuals
    dprobs = dy @ v.T
    dscores = probs * (dprobs - (dprobs * probs).sum(axis=-1, keepdims=True)) / jnp.sqrt(q.shape[-1])
    return dscores @ k, dscores.T @ q, probs.T @ dy


attend = Rule(attend_fwd, attend_bwd)


def masked_softmax_fwd(x: Float[Array, "B T D"], mask: Bool[Array, "B T D"]) -> tuple[Float[Array, "B T D"], Residuals]:
    s = jnp.where(mask, x, -1e9)
    e = jnp.exp(s - lax.stop_gradient(s.max(-1, keepdims=True)))
    p = e / (e.sum(-1, keepdims=True) + 1e-8)
    return p, (p, mask)


def masked_softmax_bwd(residuals, dy):
    p, mask = residuals
    return jnp.where(mask, p * (dy - (p * dy).sum(-1, keepdims=True)), 0.0), None


masked_softmax = Rule(masked_softmax_fwd, masked_softmax_bwd)


def label_loss_fwd(
    logits: Float[Array, "N K"], labels: Annotated[Int[Array, "N"], Below("K")]
) -> tuple[Float[Array, ""], Residuals]:
    logp = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(logp, labels[:, None], axis=1)
    return -picked.mean(), (logits, jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype))


def label_loss_bwd(residuals, dy):
    logits, onehot = residuals
    return (jax.nn.softmax(logits) - onehot) * dy / len(logits), None


label_loss = Rule(label_loss_fwd, label_loss_bwd)

# ---------------------------------------------------------------- normalisation and factors


def affine_norm_fwd(
    x: Float[Array, "N D"], g: Float[Array, "D"], b: Float[Array, "D"]
) -> tuple[Float[Array, "N D"], Residuals]:
    mu, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return g[None] * (x - mu) / jnp.sqrt(var + 1e-5) + b[None], (x, mu, var, g)


def affine_norm_bwd(residuals, dy):
    x, mu, var, g = residuals
    rstd = lax.rsqrt(var + 1e-5)
    n, dn = (x - mu) * rstd, dy * g[None]
    dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
    return dx, (dy * n).sum(0), dy.sum(0)


affine_norm = Rule(affine_norm_fwd, affine_norm_bwd)


def backward_scale_fwd(x: Float[Array, "N D"], s: Float[Array, ""]) -> tuple[Float[Array, "N D"], Residuals]:
    return x, s


def backward_scale_bwd(residuals, dy):
    return dy, jnp.zeros_like(residuals)


backward_scale = Rule(backward_scale_fwd, backward_scale_bwd)


def quantised_fwd(x: Float[Array, "N D"], w: Float[Array, "D"]) -> tuple[Float[Array, "N D"], Residuals]:
    levels = jnp.round(4 * x) / 4
    return levels * w[None], (levels, w)


def quantised_bwd(residuals, dy):
    levels, _ = residuals
    return jnp.zeros_like(dy), (dy * levels).sum(0)


quantised = Rule(quantised_fwd, quantised_bwd)

# ---------------------------------------------------------------- order along an axis


def transmittance_fwd(rate: Float[Array, "N T"], colour: Float[Array, "N T"]) -> tuple[Float[Array, "N T"], Residuals]:
    depth = jnp.cumsum(rate, axis=1)
    seen = jnp.exp(-depth)
    return seen * colour, (seen, colour)


def transmittance_bwd(residuals, dy):
    seen, colour = residuals
    ddepth = -dy * colour * seen
    return jnp.flip(jnp.cumsum(jnp.flip(ddepth, 1), axis=1), 1), dy * seen


transmittance = Rule(transmittance_fwd, transmittance_bwd)


def mirrored_fwd(x: Float[Array, "N T"], w: Float[Array, "T"]) -> tuple[Float[Array, "N T"], Residuals]:
    h = jnp.sin(x)
    back = h[:, ::-1]
    return back * w[None], (x, back, w)


def mirrored_bwd(residuals, dy):
    x, back, w = residuals
    return (dy * w[None])[:, ::-1] * jnp.cos(x), (dy * back).sum(0)


mirrored = Rule(mirrored_fwd, mirrored_bwd)


def rolled_fwd(x: Float[Array, "N T"], w: Float[Array, "T"]) -> tuple[Float[Array, "N T"], Residuals]:
    h = jnp.sin(x)
    late = jnp.roll(h, 2, axis=1)
    return late * w[None], (x, late, w)


def rolled_bwd(residuals, dy):
    x, late, w = residuals
    return jnp.roll(dy * w[None], -2, axis=1) * jnp.cos(x), (dy * late).sum(0)


rolled = Rule(rolled_fwd, rolled_bwd)


def ranked_fwd(x: Float[Array, "N"], w: Float[Array, "N"]) -> tuple[Float[Array, "N"], Residuals]:
    order = jnp.argsort(x)
    ranked = x[order]
    return jnp.tanh(ranked) * w, (order, ranked, w)


def ranked_bwd(residuals, dy):
    order, ranked, w = residuals
    t = jnp.tanh(ranked)
    return jnp.zeros_like(ranked).at[order].set(dy * w * (1 - t * t)), dy * t


ranked = Rule(ranked_fwd, ranked_bwd)


def order_statistics_fwd(x: Float[Array, "N D"], w: Float[Array, "D"]) -> tuple[Float[Array, "N"], Residuals]:
    values = jnp.sort(x, axis=-1)
    return values @ w, (x, values, w)


def order_statistics_bwd(residuals, dy):
    x, values, w = residuals
    places = jnp.argsort(jnp.argsort(x, axis=-1), axis=-1)
    return jnp.take_along_axis(jnp.outer(dy, w), places, axis=-1), values.T @ dy


order_statistics = Rule(order_statistics_fwd, order_statistics_bwd)

# ---------------------------------------------------------------- recurrence


def leaky_fwd(x: Float[Array, "T C"], a: Float[Array, "C"]) -> tuple[Float[Array, "T C"], Residuals]:
    def step(h, x_t):
        h = a * h + x_t
        return h, h

    _, y = lax.scan(step, jnp.zeros_like(x[0]), x)
    return y, (y, a)


def _leaky(residuals, dy, reverse=True, kept=1.0, shift=1):
    """The right backward; or run in the wrong direction, with a factor on what is kept, or da from another step."""
    y, a = residuals

    def step(dh, dy_t):
        dx_t = dy_t + dh
        return kept * a * dx_t, dx_t

    _, dx = lax.scan(step, jnp.zeros_like(dy[0]), dy, reverse=reverse)
    before = jnp.concatenate([jnp.zeros_like(y[:shift]), y[: len(y) - shift]])
    return dx, (dx * before).sum(0)


leaky = Rule(leaky_fwd, _leaky)


def gated_cell_fwd(
    xs: Float[Array, "T I"], wz: Float[Array, "I H"], uz: Float[Array, "H H"], wh: Float[Array, "I H"]
) -> tuple[Float[Array, "T H"], Residuals]:
    def cell(h, x):
        z = jax.nn.sigmoid(x @ wz + h @ uz)
        candidate = jnp.tanh(x @ wh)
        h = (1 - z) * h + z * candidate
        return h, (h, z, candidate)

    _, (hs, zs, candidates) = lax.scan(cell, jnp.zeros(wz.shape[1], xs.dtype), xs)
    before = jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])
    return hs, (xs, wz, uz, wh, before, zs, candidates)


def _gated_cell(residuals, dy, reverse=True, kept=None, of_gate=None, slope=None, candidate_slope=None):
    """The right backward; or run in the wrong direction, or with one local derivative exchanged."""
    xs, wz, uz, wh, before, zs, candidates = residuals
    kept = kept or (lambda z: 1 - z)
    of_gate = of_gate or (lambda candidate, h: candidate - h)
    slope = slope or (lambda z: z * (1 - z))
    candidate_slope = candidate_slope or (lambda c: 1 - c * c)

    def step(dh, inputs):
        dy_t, z, candidate, h = inputs
        dh = dh + dy_t
        dz = dh * of_gate(candidate, h) * slope(z)
        return dh * kept(z) + dz @ uz.T, (dz, dh * z * candidate_slope(candidate))

    _, (dz, dc) = lax.scan(step, jnp.zeros_like(dy[0]), (dy, zs, candidates, before), reverse=reverse)
    return dz @ wz.T + dc @ wh.T, xs.T @ dz, before.T @ dz, xs.T @ dc


gated_cell = Rule(gated_cell_fwd, _gated_cell)

# ---------------------------------------------------------------- graphs and convolutions


def messages_fwd(
    h: Float[Array, "V D"],
    w: Float[Array, "D F"],
    senders: Annotated[Int[Array, "E"], Below("V")],
    receivers: Annotated[Int[Array, "E"], Below("V")],
) -> tuple[Float[Array, "V F"], Residuals]:
    sent = h[senders] @ w
    return jnp.zeros((len(h), w.shape[1]), h.dtype).at[receivers].add(sent), (h, w, senders, receivers)


def messages_bwd(residuals, dy):
    h, w, senders, receivers = residuals
    dsent = dy[receivers]
    return jnp.zeros_like(h).at[senders].add(dsent @ w.T), h[senders].T @ dsent, None, None


messages = Rule(messages_fwd, messages_bwd)


def smoothed_fwd(x: Float[Array, "N L C"], w: Float[Array, "3 C F"]) -> tuple[Float[Array, "N L F"], Residuals]:
    y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NLC", "LIO", "NLC"))
    return y, (x, w)


def _smoothed(residuals, dy, flipped=True):
    """The right backward, or with the kernel in its own order for dx."""
    x, w = residuals
    framed = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    L = x.shape[1]
    dw = jnp.stack([jnp.einsum("nlc,nlf->cf", framed[:, j : j + L], dy) for j in range(3)])
    back = jnp.swapaxes(w[::-1] if flipped else w, 1, 2)
    return lax.conv_general_dilated(dy, back, (1,), "SAME", dimension_numbers=("NLC", "LIO", "NLC")), dw


smoothed = Rule(smoothed_fwd, _smoothed)
