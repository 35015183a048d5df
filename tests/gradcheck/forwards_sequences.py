"""Forwards with their right backwards, one step a line: attention, embeddings, convolution, pooling, recurrence."""

from __future__ import annotations

import math
from typing import Annotated

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from funcnet.types import Below, Residuals, Rule

# ---------------------------------------------------------------- attention


def attention_fwd(
    q: Float[Array, "T D"], k: Float[Array, "T D"], v: Float[Array, "T D"], mask: Bool[Array, "T T"]
) -> tuple[Float[Array, "T D"], Residuals]:
    T, D = q.shape
    seen = mask | jnp.eye(T, dtype=bool)
    products = q @ k.T
    scaled = products / math.sqrt(D)
    scores = jnp.where(seen, scaled, -jnp.inf)
    shift = lax.stop_gradient(jnp.max(scores, axis=1, keepdims=True))
    e = jnp.exp(scores - shift)
    total = jnp.sum(e, axis=1, keepdims=True)
    p = e / total
    y = p @ v
    return y, (q, k, v, seen, p)


def attention_bwd(residuals, dy):
    q, k, v, _, p = residuals
    dv = p.T @ dy
    dp = dy @ v.T
    ds = p * (dp - jnp.sum(dp * p, axis=1, keepdims=True)) / math.sqrt(q.shape[1])
    return ds @ k, ds.T @ q, dv, None


attention = Rule(attention_fwd, attention_bwd)

# ---------------------------------------------------------------- embeddings


def embedding_fwd(
    table: Float[Array, "V D"], tokens: Annotated[Int[Array, "T"], Below("V")]
) -> tuple[Float[Array, "T D"], Residuals]:
    y = table[tokens]
    return y, (table, tokens)


def embedding_bwd(residuals, dy):
    table, tokens = residuals
    return jnp.zeros_like(table).at[tokens].add(dy), None


embedding = Rule(embedding_fwd, embedding_bwd)


def tied_embedding_fwd(
    table: Float[Array, "V D"], tokens: Annotated[Int[Array, "T"], Below("V")]
) -> tuple[Float[Array, "T V"], Residuals]:
    rows = table[tokens]
    h = jnp.tanh(rows)
    y = h @ table.T
    return y, (table, tokens, h)


def tied_embedding_bwd(residuals, dy):
    table, tokens, h = residuals
    drows = (dy @ table) * (1 - h * h)
    dtable = dy.T @ h
    return dtable.at[tokens].add(drows), None


tied_embedding = Rule(tied_embedding_fwd, tied_embedding_bwd)

# ---------------------------------------------------------------- convolution and pooling


def conv1d_fwd(x: Float[Array, "N L C"], w: Float[Array, "3 C F"]) -> tuple[Float[Array, "N M F"], Residuals]:
    M = x.shape[1] - 2
    left = x[:, 0:M] @ w[0]
    middle = x[:, 1 : M + 1] @ w[1]
    right = x[:, 2 : M + 2] @ w[2]
    y = left + middle + right
    return y, (x, w)


def conv1d_bwd(residuals, dy):
    x, w = residuals
    M = dy.shape[1]
    dx = jnp.zeros_like(x)
    dw = jnp.zeros_like(w)
    for j in range(3):
        dx = dx.at[:, j : j + M].add(dy @ w[j].T)
        dw = dw.at[j].add(jnp.einsum("nmc,nmf->cf", x[:, j : j + M], dy))
    return dx, dw


conv1d = Rule(conv1d_fwd, conv1d_bwd)


def conv2d_fwd(image: Float[Array, "H W"], kernel: Float[Array, "3 3"]) -> tuple[Float[Array, "P Q"], Residuals]:
    P, Q = image.shape[0] - 2, image.shape[1] - 2
    y = jnp.zeros((P, Q), image.dtype)
    for i in range(3):
        for j in range(3):
            patch = image[i : i + P, j : j + Q]
            y = y + kernel[i, j] * patch
    return y, (image, kernel)


def conv2d_bwd(residuals, dy):
    image, kernel = residuals
    H, W = image.shape
    P, Q = dy.shape
    framed = jnp.pad(dy, 2)
    dimage = jnp.zeros_like(image)
    dkernel = jnp.zeros_like(kernel)
    for i in range(3):
        for j in range(3):
            dimage = dimage + kernel[2 - i, 2 - j] * framed[i : i + H, j : j + W]
            dkernel = dkernel.at[i, j].set(jnp.sum(dy * image[i : i + P, j : j + Q]))
    return dimage, dkernel


conv2d = Rule(conv2d_fwd, conv2d_bwd)


def max_pool_fwd(x: Float[Array, "N L"]) -> tuple[Float[Array, "N M"], Residuals]:
    N, M = x.shape[0], x.shape[1] // 2
    pairs = x[:, : 2 * M].reshape(N, M, 2)
    y = jnp.max(pairs, axis=2)
    return y, (x, pairs, y)


def max_pool_bwd(residuals, dy):
    x, pairs, y = residuals
    N, L = x.shape
    M = dy.shape[1]
    largest = (pairs == y[:, :, None]).astype(dy.dtype)
    share = largest / jnp.sum(largest, axis=2, keepdims=True)
    dpairs = share * dy[:, :, None]
    return (jnp.pad(dpairs.reshape(N, 2 * M), ((0, 0), (0, L - 2 * M))),)


max_pool = Rule(max_pool_fwd, max_pool_bwd)


def average_pool_fwd(image: Float[Array, "H W"]) -> tuple[Float[Array, "P Q"], Residuals]:
    P, Q = image.shape[0] // 2, image.shape[1] // 2
    windows = image[: 2 * P, : 2 * Q].reshape(P, 2, Q, 2)
    y = jnp.mean(windows, axis=(1, 3))
    return y, (image,)


def average_pool_bwd(residuals, dy):
    (image,) = residuals
    H, W = image.shape
    P, Q = dy.shape
    spread = jnp.repeat(jnp.repeat(dy / 4, 2, axis=0), 2, axis=1)
    return (jnp.pad(spread, ((0, H - 2 * P), (0, W - 2 * Q))),)


average_pool = Rule(average_pool_fwd, average_pool_bwd)

# ---------------------------------------------------------------- recurrence


def rnn_fwd(
    x: Float[Array, "T I"], w: Float[Array, "I H"], u: Float[Array, "H H"], b: Float[Array, "H"], h0: Float[Array, "H"]
) -> tuple[Float[Array, "T H"], Residuals]:
    def step(h, x_t):
        drive = x_t @ w
        recall = h @ u
        z = drive + recall + b
        h = jnp.tanh(z)
        return h, h

    _, y = lax.scan(step, h0, x)
    before = jnp.concatenate([h0[None, :], y[:-1]])
    return y, (x, w, u, before, y)


def rnn_bwd(residuals, dy):
    x, w, u, before, y = residuals

    def step(dh, inputs):
        dy_t, y_t = inputs
        dz = (dh + dy_t) * (1 - y_t * y_t)
        return dz @ u.T, dz

    dh0, dz = lax.scan(step, jnp.zeros_like(dy[0]), (dy, y), reverse=True)
    return dz @ w.T, x.T @ dz, before.T @ dz, dz.sum(axis=0), dh0


rnn = Rule(rnn_fwd, rnn_bwd)
