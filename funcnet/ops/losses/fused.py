"""The last linear map and softmax cross-entropy as one, a few examples at a time: nobody ever holds all logits."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ...types import Below, Rule, ShapeError, at_least_float32
from .logits import sparse_softmax_cross_entropy
from .reduction import Reduction, check_reduction, integer_labels, reduced, spread

Linear = tuple[Float[Array, "*B D"], Float[Array, "K D"], Float[Array, "K"]]
"""x, the table with a row for each class, and a bias, which may be left out."""


class FusedResiduals(NamedTuple):
    predictions: Linear
    labels: Int[Array, "*B"]


def linear_softmax_cross_entropy(
    label_smoothing: float = 0.0, chunk: int = 256, *, reduction: Reduction = "mean"
) -> Rule:
    """``sparse_softmax_cross_entropy`` of the logits x tableᵀ + b, of which only ``chunk`` rows exist at a time.

    Predictions are (x, table, b) or (x, table), as ``gpt(config, fused=True)`` gives them; the weights of a dense layer
    are a table transposed. Raises ValueError for a chunk of none, and ShapeError for what does not fit.
    """
    if chunk < 1:
        raise ValueError(f"linear_softmax_cross_entropy wants at least one row in a chunk; got {chunk}")
    terms = sparse_softmax_cross_entropy(label_smoothing, reduction="none")
    check_reduction(reduction)

    def fwd(
        predictions: Linear, labels: Annotated[Int[Array, "*B"], Below("K")]
    ) -> tuple[Float[Array, "*R"], FusedResiduals]:
        """L = reduce ℓ(x tableᵀ + b, labels), for x (*B, D), table (K, D), b (K,) and integer labels (*B).

        Logits are added in float32 at least, as is the loss. A label outside [0, K) gives NaN.
        """
        x, table, *bias = predictions
        labels = _checked(x, table, bias, labels)

        def part(_, rows):
            xs, at = rows
            return None, terms.fwd(_logits(xs, table, bias), at)[0]

        _, found = lax.scan(part, None, (_chunks(x, chunk, 1), _chunks(labels, chunk, 0)))
        y = found.reshape(-1)[: labels.size].reshape(labels.shape)
        return reduced(y, reduction).astype(x.dtype), FusedResiduals(predictions, labels)

    def bwd(residuals: FusedResiduals, dy: Float[Array, "*R"]) -> tuple[Linear, None]:
        """dx = dz table,  dtable = Σ dzᵀ x,  db = Σ dz, with dz the loss's own for the logits z of a chunk.

        A row's logits serve that row alone, so dx is had chunk by chunk, and dtable and db are sums over the chunks,
        added in float32 at least. Saves what came in and no logits: they are computed again, which costs one product
        more than keeping them, and none where nobody asks for the loss itself.
        """
        (x, table, *bias), labels = residuals
        wide = at_least_float32(x.dtype)
        dterms = spread(dy.astype(wide), labels.shape, reduction)

        def part(sums, rows):
            xs, at, d = rows
            dz, _ = terms.bwd(terms.fwd(_logits(xs, table, bias), at)[1], d)
            narrow = dz.astype(x.dtype)
            dtable = sums[0] + jnp.matmul(narrow.T, xs, preferred_element_type=wide)
            dx = jnp.matmul(narrow, table, preferred_element_type=wide).astype(x.dtype)
            return (dtable, *(db + dz.sum(axis=0) for db in sums[1:])), dx

        start = tuple(jnp.zeros(a.shape, wide) for a in (table, *bias))
        rows = _chunks(x, chunk, 1), _chunks(labels, chunk, 0), _chunks(dterms, chunk, 0)
        sums, dx = lax.scan(part, start, rows)
        dx = dx.reshape(-1, x.shape[-1])[: labels.size].reshape(x.shape)
        return (dx, *(total.astype(a.dtype) for total, a in zip(sums, (table, *bias), strict=True))), None

    return Rule(fwd, bwd)


def _logits(x: Float[Array, "C D"], table: Float[Array, "K D"], bias: list[Array]) -> Float[Array, "C K"]:
    z = jnp.matmul(x, table.T, preferred_element_type=at_least_float32(x.dtype))
    return z + jnp.broadcast_to(bias[0].astype(z.dtype), z.shape) if bias else z


def _chunks(rows: Array, chunk: int, features: int) -> Array:
    """Rows by the chunk, on a new first axis; the last is filled up with zeros. The last ``features`` axes stay."""
    rows = rows.reshape(-1, *rows.shape[rows.ndim - features :])
    chunk = min(chunk, max(len(rows), 1))
    rows = jnp.pad(rows, [(0, -len(rows) % chunk), *[(0, 0)] * features])
    return rows.reshape(-1, chunk, *rows.shape[1:])


def _checked(x: Array, table: Array, bias: list[Array], labels: Array) -> Int[Array, "*B"]:
    if table.ndim != 2 or x.shape[-1:] != table.shape[1:] or any(b.shape != table.shape[:1] for b in bias):
        shapes = ", ".join(str(a.shape) for a in (x, table, *bias))
        raise ShapeError(
            f"linear_softmax_cross_entropy got {shapes}; it wants x (*B, D), a table (K, D) and, if any, b (K,)"
        )
    return integer_labels("linear_softmax_cross_entropy", x, labels)
