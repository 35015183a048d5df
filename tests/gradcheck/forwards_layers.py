"""Forwards with their right backwards, one step a line: dense maps, normalisation, gates, residuals, products."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from funcnet.types import Residuals, Rule

# ---------------------------------------------------------------- dense maps


def dense_fwd(
    x: Float[Array, "N I"], w: Float[Array, "I O"], b: Float[Array, "O"]
) -> tuple[Float[Array, "N O"], Residuals]:
    y = x @ w + b[None, :]
    return y, (x, w)


def dense_bwd(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


dense = Rule(dense_fwd, dense_bwd)


def dense_sigmoid_fwd(
    x: Float[Array, "N I"], w: Float[Array, "I O"], b: Float[Array, "O"]
) -> tuple[Float[Array, "N O"], Residuals]:
    z = x @ w + b[None, :]
    a = 1 / (1 + jnp.exp(-z))
    return a, (x, w, z, a)


def dense_sigmoid_bwd(residuals, dy):
    x, w, _, a = residuals
    dz = dy * a * (1 - a)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


dense_sigmoid = Rule(dense_sigmoid_fwd, dense_sigmoid_bwd)


def mlp_fwd(
    x: Float[Array, "N I"],
    w1: Float[Array, "I H"],
    b1: Float[Array, "H"],
    w2: Float[Array, "H O"],
    b2: Float[Array, "O"],
) -> tuple[Float[Array, "N O"], Residuals]:
    z = x @ w1 + b1[None, :]
    h = jnp.tanh(z)
    y = h @ w2 + b2[None, :]
    return y, (x, w1, h, w2)


def mlp_bwd(residuals, dy):
    x, w1, h, w2 = residuals
    dh = dy @ w2.T
    dz = dh * (1 - h * h)
    return dz @ w1.T, x.T @ dz, dz.sum(axis=0), h.T @ dy, dy.sum(axis=0)


mlp = Rule(mlp_fwd, mlp_bwd)


def scale_fwd(x: Float[Array, "*B D"], gamma: Float[Array, "D"]) -> tuple[Float[Array, "*B D"], Residuals]:
    g = jnp.broadcast_to(gamma, x.shape)
    y = x * g
    return y, (x, g)


def scale_bwd(residuals, dy):
    x, g = residuals
    leading = tuple(range(x.ndim - 1))
    return dy * g, (dy * x).sum(axis=leading)


scale = Rule(scale_fwd, scale_bwd)


def image_bias_fwd(
    x: Float[Array, "N H W C"], row: Float[Array, "H"], channel: Float[Array, "C"]
) -> tuple[Float[Array, "N H W C"], Residuals]:
    shifted = x + row[None, :, None, None]
    y = jnp.tanh(shifted) + channel[None, None, None, :]
    return y, (jnp.tanh(shifted),)


def image_bias_bwd(residuals, dy):
    (t,) = residuals
    dx = dy * (1 - t * t)
    return dx, dx.sum(axis=(0, 2, 3)), dy.sum(axis=(0, 1, 2))


image_bias = Rule(image_bias_fwd, image_bias_bwd)

# ---------------------------------------------------------------- normalisation


def layer_norm_fwd(
    x: Float[Array, "N D"], gamma: Float[Array, "D"], beta: Float[Array, "D"]
) -> tuple[Float[Array, "N D"], Residuals]:
    mean = jnp.mean(x, axis=1, keepdims=True)
    c = x - mean
    var = jnp.mean(c**2, axis=1, keepdims=True)
    rstd = 1 / jnp.sqrt(var + 1e-3)
    n = c * rstd
    y = n * gamma[None, :] + beta[None, :]
    return y, (c, rstd, n, gamma)


def layer_norm_bwd(residuals, dy):
    c, rstd, n, gamma = residuals
    D = c.shape[1]
    dn = dy * gamma[None, :]
    dvar = jnp.sum(dn * c, axis=1, keepdims=True) * -0.5 * rstd**3
    dc = dn * rstd + dvar * 2 * c / D
    dmean = -jnp.sum(dc, axis=1, keepdims=True)
    dx = dc + dmean / D
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


layer_norm = Rule(layer_norm_fwd, layer_norm_bwd)


def batch_norm_fwd(
    x: Float[Array, "N D"], gamma: Float[Array, "D"], beta: Float[Array, "D"]
) -> tuple[Float[Array, "N D"], Residuals]:
    mean = jnp.mean(x, axis=0, keepdims=True)
    c = x - mean
    var = jnp.mean(c * c, axis=0, keepdims=True)
    std = jnp.sqrt(var + 1e-3)
    n = c / std
    y = n * gamma[None, :] + beta[None, :]
    return y, (c, std, n, gamma)


def batch_norm_bwd(residuals, dy):
    c, std, n, gamma = residuals
    N = c.shape[0]
    dn = dy * gamma[None, :]
    dstd = -jnp.sum(dn * c, axis=0, keepdims=True) / std**2
    dvar = dstd / (2 * std)
    dc = dn / std + dvar * 2 * c / N
    dx = dc - jnp.mean(dc, axis=0, keepdims=True)
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


batch_norm = Rule(batch_norm_fwd, batch_norm_bwd)


def rms_norm_fwd(x: Float[Array, "N D"], gamma: Float[Array, "D"]) -> tuple[Float[Array, "N D"], Residuals]:
    power = jnp.mean(x * x, axis=1, keepdims=True)
    rms = jnp.sqrt(power + 1e-3)
    n = x / rms
    y = n * gamma[None, :]
    return y, (x, rms, n, gamma)


def rms_norm_bwd(residuals, dy):
    _, rms, n, gamma = residuals
    dn = dy * gamma[None, :]
    dx = (dn - n * jnp.mean(dn * n, axis=1, keepdims=True)) / rms
    return dx, (dy * n).sum(axis=0)


rms_norm = Rule(rms_norm_fwd, rms_norm_bwd)


def l2_normalise_fwd(x: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    squares = jnp.sum(x * x, axis=1, keepdims=True)
    norm = jnp.sqrt(squares + 1e-2)
    y = x / norm
    return y, (x, norm, y)


def l2_normalise_bwd(residuals, dy):
    _, norm, y = residuals
    along = jnp.sum(dy * y, axis=1, keepdims=True)
    return ((dy - y * along) / norm,)


l2_normalise = Rule(l2_normalise_fwd, l2_normalise_bwd)


def cosine_fwd(a: Float[Array, "N D"], b: Float[Array, "N D"]) -> tuple[Float[Array, "N"], Residuals]:
    dot = jnp.sum(a * b, axis=1)
    na = jnp.sqrt(jnp.sum(a * a, axis=1))
    nb = jnp.sqrt(jnp.sum(b * b, axis=1))
    y = dot / (na * nb)
    return y, (a, b, na, nb, y)


def cosine_bwd(residuals, dy):
    a, b, na, nb, y = residuals
    across = (dy / (na * nb))[:, None]
    da = across * b - (dy * y / na**2)[:, None] * a
    db = across * a - (dy * y / nb**2)[:, None] * b
    return da, db


cosine = Rule(cosine_fwd, cosine_bwd)

# ---------------------------------------------------------------- gates and residuals


def gated_fwd(x1: Float[Array, "N D"], x2: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Residuals]:
    gate = 1 / (1 + jnp.exp(-x2))
    y = x1 * gate
    return y, (x1, x2, gate)


def gated_bwd(residuals, dy):
    x1, _, gate = residuals
    return dy * gate, dy * x1 * gate * (1 - gate)


gated = Rule(gated_fwd, gated_bwd)


def swiglu_fwd(
    x: Float[Array, "N D"], w: Float[Array, "D F"], v: Float[Array, "D F"]
) -> tuple[Float[Array, "N F"], Residuals]:
    a = x @ w
    b = x @ v
    gate = 1 / (1 + jnp.exp(-a))
    s = a * gate
    y = s * b
    return y, (x, w, v, a, b, gate)


def swiglu_bwd(residuals, dy):
    x, w, v, a, b, gate = residuals
    ds = dy * b
    db = dy * a * gate
    da = ds * gate + ds * a * gate * (1 - gate)
    return da @ w.T + db @ v.T, x.T @ da, x.T @ db


swiglu = Rule(swiglu_fwd, swiglu_bwd)


def residual_block_fwd(
    x: Float[Array, "N D"], w1: Float[Array, "D H"], w2: Float[Array, "H D"]
) -> tuple[Float[Array, "N D"], Residuals]:
    z = x @ w1
    h = jnp.tanh(z)
    branch = h @ w2
    y = x + branch
    return y, (x, w1, h, w2)


def residual_block_bwd(residuals, dy):
    x, w1, h, w2 = residuals
    dz = (dy @ w2.T) * (1 - h * h)
    return dy + dz @ w1.T, x.T @ dz, h.T @ dy


residual_block = Rule(residual_block_fwd, residual_block_bwd)

# ---------------------------------------------------------------- products


def bilinear_fwd(
    x: Float[Array, "N D"], a: Float[Array, "D D"], z: Float[Array, "N D"]
) -> tuple[Float[Array, "N"], Residuals]:
    y = jnp.einsum("ni,ij,nj->n", x, a, z)
    return y, (x, a, z)


def bilinear_bwd(residuals, dy):
    x, a, z = residuals
    dx = dy[:, None] * (z @ a.T)
    da = jnp.einsum("n,ni,nj->ij", dy, x, z)
    dz = dy[:, None] * (x @ a)
    return dx, da, dz


bilinear = Rule(bilinear_fwd, bilinear_bwd)


def low_rank_fwd(
    x: Float[Array, "N I"], u: Float[Array, "I R"], v: Float[Array, "O R"]
) -> tuple[Float[Array, "N O"], Residuals]:
    code = x @ u
    y = code @ v.T
    return y, (x, u, v, code)


def low_rank_bwd(residuals, dy):
    x, u, v, code = residuals
    dcode = dy @ v
    return dcode @ u.T, x.T @ dcode, dy.T @ code


low_rank = Rule(low_rank_fwd, low_rank_bwd)


def outer_fwd(a: Float[Array, "N"], b: Float[Array, "M"]) -> tuple[Float[Array, "N M"], Residuals]:
    y = a[:, None] * b[None, :]
    return y, (a, b)


def outer_bwd(residuals, dy):
    a, b = residuals
    return dy @ b, dy.T @ a


outer = Rule(outer_fwd, outer_bwd)
