"""Softmax cross-entropy of each row, as one Pallas kernel forward and one backward.

    loss = log Σᵥ exp(zᵥ) − z_label        dzᵥ = dloss · (exp(zᵥ − lse) − [v = label])

lse = log Σᵥ exp(zᵥ) is saved beside the arguments, one number a row, so that the softmax is never held in memory: the
backward recomputes it, block by block. The forward takes the blocks of a row in turn, with a running maximum m and a
running sum s = Σ exp(z − m), which a larger maximum scales down (Milakov and Gimelshein, arXiv 1805.02867).

Logits may be float32, bfloat16 or float16; losses, lse and all arithmetic are float32. The kernels compile by Triton on
a GPU. Elsewhere they are interpreted: good for tests alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Float32, Int

ROWS, COLUMNS = 4, 128  # of a block; Triton asks for powers of two
LEAST = float(jnp.finfo(jnp.float32).min)  # the maximum of nothing: −∞ − (−∞) would be NaN


@jax.custom_vjp
def softmax_cross_entropy(logits: Float[Array, "N V"], labels: Int[Array, "N"]) -> Float32[Array, "N"]:
    """The loss of each row; NaN if its label is not in [0, V)."""
    return forward(logits, labels)[0]


@jax.jit
def forward(logits: Float[Array, "N V"], labels: Int[Array, "N"]) -> tuple[Array, tuple[Array, Array, Array]]:
    """The losses, and (logits, labels, lse) for the backward."""
    n, v = logits.shape
    row = jax.ShapeDtypeStruct((n,), jnp.float32)
    losses, lse = call(functools.partial(forward_kernel, n, v), (pl.cdiv(n, ROWS),), (row, row), logits, labels)
    return losses, (logits, labels, lse)


@jax.jit
def backward(residuals: tuple[Array, Array, Array], dlosses: Float32[Array, "N"]) -> tuple[Array, None]:
    """(dlogits, None). Every block stands alone: ∂lse/∂zᵥ = exp(zᵥ − lse), and the label's logit enters with −1."""
    logits, labels, lse = residuals
    n, v = logits.shape
    kernel = functools.partial(backward_kernel, n, v)
    return call(kernel, (pl.cdiv(n, ROWS), pl.cdiv(v, COLUMNS)), logits, logits, labels, lse, dlosses), None


softmax_cross_entropy.defvjp(forward, backward)


def call(kernel: Callable[..., None], grid: tuple[int, ...], like: Any, *arrays: Array) -> Any:
    """Runs a kernel on whole arrays; each of its programs finds its own block of them."""
    out = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), like)
    compiled = jax.default_backend() == "gpu"
    parameters = triton.CompilerParams(num_warps=4)
    return pl.pallas_call(kernel, out, grid=grid, interpret=not compiled, compiler_params=parameters)(*arrays)


def forward_kernel(n: int, v: int, logits: Any, labels: Any, losses: Any, lse: Any) -> None:
    rows, there = block(pl.program_id(0), ROWS, n)
    label = triton.load(labels.at[rows], mask=there, other=0)

    def one_block(j: Array, running: tuple[Array, Array]) -> tuple[Array, Array]:
        m, s = running
        columns, inside = block(j, COLUMNS, v)
        z = values(logits, rows, columns, there[:, None] & inside[None, :])
        larger = jnp.maximum(m, z.max(axis=1))
        return larger, s * jnp.exp(m - larger) + jnp.exp(z - larger[:, None]).sum(axis=1)

    start = jnp.full(ROWS, LEAST, jnp.float32), jnp.zeros(ROWS, jnp.float32)
    m, s = lax.fori_loop(0, pl.cdiv(v, COLUMNS), one_block, start)
    total = m + jnp.log(s)
    valid = there & (label >= 0) & (label < v)
    own = triton.load(logits.at[rows, label], mask=valid, other=jnp.nan).astype(jnp.float32)
    triton.store(losses.at[rows], total - own, mask=there)
    triton.store(lse.at[rows], total, mask=there)


def backward_kernel(n: int, v: int, logits: Any, labels: Any, lse: Any, dlosses: Any, dlogits: Any) -> None:
    rows, there = block(pl.program_id(0), ROWS, n)
    columns, inside = block(pl.program_id(1), COLUMNS, v)
    mask = there[:, None] & inside[None, :]
    label, total, dloss = (triton.load(array.at[rows], mask=there, other=0) for array in (labels, lse, dlosses))
    softmax = jnp.exp(values(logits, rows, columns, mask) - total[:, None])
    one_hot = (columns[None, :] == label[:, None]).astype(jnp.float32)
    dz = dloss[:, None] * (softmax - one_hot)
    triton.store(dlogits.at[rows[:, None], columns[None, :]], dz.astype(dlogits.dtype), mask=mask)


def block(index: Array, size: int, end: int) -> tuple[Array, Array]:
    """The places of a block along an axis, and which of them lie on it: the last block may reach beyond."""
    places = index.astype(jnp.int32) * size + jnp.arange(size, dtype=jnp.int32)
    return places, places < end


def values(logits: Any, rows: Array, columns: Array, mask: Array) -> Array:
    """A block of logits in float32, −∞ beside the array: exp makes it 0."""
    return triton.load(logits.at[rows[:, None], columns[None, :]], mask=mask, other=-jnp.inf).astype(jnp.float32)
