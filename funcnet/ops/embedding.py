"""Embeddings: a row of a table for every token, a row for every position, and rotation by the position."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..types import Below, Rule, ShapeError, at_least_float32

# ---------------------------------------------------------------- tokens


class EmbeddingResiduals(NamedTuple):
    tokens: Int[Array, "*B"]
    empty: Float[Array, "V 0"]  # no elements: it carries the size and the dtype of the table, and no bytes


def _rows(tokens: Int[Array, "*B"], vocabulary: int) -> Int[Array, "*B"]:
    """The row of each token; V, which is no row, for a token outside [0, V): below 0 indexing counts from the end."""
    return jnp.where((tokens >= 0) & (tokens < vocabulary), tokens, jnp.full_like(tokens, vocabulary))


def embedding_fwd(
    table: Float[Array, "V D"], tokens: Annotated[Int[Array, "*B"], Below("V")]
) -> tuple[Float[Array, "*B D"], EmbeddingResiduals]:
    """y = table[tokens]: a row for every token, ``table`` (V, D) and ``tokens`` (*B) to ``y`` (*B, D).

    A token outside [0, V) gives a row of NaN, as a label without a class does in the losses: no value of an array can
    raise under jit, and a row taken from elsewhere would go unnoticed. Raises ShapeError where tokens are no integers.
    """
    if table.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ShapeError(
            f"embedding wants a table (V, D) and integer tokens (*B); "
            f"got {table.shape} and {tokens.dtype} {tokens.shape}"
        )
    tokens = tokens.astype(jnp.int32)  # a byte cannot be compared with 256 rows
    y = jnp.take(table, _rows(tokens, len(table)), axis=0, mode="fill", fill_value=jnp.nan)
    return y, EmbeddingResiduals(tokens, table[:, :0])


def embedding_bwd(residuals: EmbeddingResiduals, dy: Float[Array, "*B D"]) -> tuple[Float[Array, "V D"], None]:
    """dtable_v = Σ_{b: token_b = v} dy_b, and 0 for a row that no token took.

    y_b = Σ_v [token_b = v] table_v is linear in the table, and this is its transpose: a row that was taken n times
    gets n cotangents, which are added in float32 at least. What came from no row goes to none. Saves the tokens.
    """
    tokens, empty = residuals
    dtable = jnp.zeros((len(empty), dy.shape[-1]), at_least_float32(dy.dtype))
    dtable = dtable.at[_rows(tokens, len(empty))].add(dy.astype(dtable.dtype), mode="drop")
    return dtable.astype(empty.dtype), None


embedding = Rule(embedding_fwd, embedding_bwd)

# ---------------------------------------------------------------- from features back to tokens


class UnembeddingResiduals(NamedTuple):
    x: Float[Array, "*B D"]
    table: Float[Array, "V D"]


def unembedding_fwd(
    x: Float[Array, "*B D"], table: Float[Array, "V D"]
) -> tuple[Float[Array, "*B V"], UnembeddingResiduals]:
    """y = x tableᵀ: how much of each token's row there is in x, as logits (Press & Wolf 2017).

    Raises ShapeError where the last axes of x and table differ.
    """
    if x.ndim < 1 or table.ndim != 2 or x.shape[-1] != table.shape[-1]:
        raise ShapeError(f"unembedding got x {x.shape}, table {table.shape}; it wants x (*B, D), table (V, D)")
    return x @ table.T, UnembeddingResiduals(x, table)


def unembedding_bwd(
    residuals: UnembeddingResiduals, dy: Float[Array, "*B V"]
) -> tuple[Float[Array, "*B D"], Float[Array, "V D"]]:
    """dx = dy table,  dtable = Σ_B dyᵀ x: the dense map's, for w = tableᵀ. Saves x and table."""
    x, table = residuals
    x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return dy @ table, dy_rows.T @ x_rows


unembedding = Rule(unembedding_fwd, unembedding_bwd)

# ---------------------------------------------------------------- learned positions


def positions_fwd(
    x: Float[Array, "N *S T D"], table: Float[Array, "L D"]
) -> tuple[Float[Array, "N *S T D"], Float[Array, "L 0"]]:
    """y_t = x_t + table_t: the first T ≤ L rows of a table that is learned (Gehring et al. 2017).

    Raises ShapeError where there are more positions than rows, or the last axes differ.
    """
    if x.ndim < 2 or table.shape[1:] != x.shape[-1:] or x.shape[-2] > len(table):
        raise ShapeError(f"positions got x {x.shape}, table {table.shape}; it wants x (*B, T, D), table (L, D), T <= L")
    return x + jnp.broadcast_to(table[: x.shape[-2]], x.shape), table[:, :0]


def positions_bwd(
    empty: Float[Array, "L 0"], dy: Float[Array, "N *S T D"]
) -> tuple[Float[Array, "N *S T D"], Float[Array, "L D"]]:
    """dx = dy,  dtable_t = Σ dy_t over all axes before T, and 0 for the rows from T on.

    Saves an array of no elements, which carries the number of rows.
    """
    used = dy.sum(tuple(range(dy.ndim - 2)))
    return dy, jnp.pad(used, ((0, len(empty) - len(used)), (0, 0)))


positions = Rule(positions_fwd, positions_bwd)

# ---------------------------------------------------------------- rotary embedding


def rotary(base: float = 10000.0) -> Rule:
    """Rotary position embedding (Su et al. 2021): turned by their positions, q·k depends on the distance alone.

    Feature i is paired with feature i + D/2, as in GPT-NeoX and Llama (the paper pairs 2i with 2i + 1, which is the
    same up to the order of the features). Of an odd D the last feature is not turned.
    """
    if not base > 1:
        raise ValueError(f"rotary wants a base above 1; got {base}")

    def turned(
        x: Float[Array, "*B T D"], positions: Int[Array, "T"] | None, direction: float
    ) -> Float[Array, "*B T D"]:
        half = x.shape[-1] // 2
        wide = x.astype(at_least_float32(x.dtype))
        t = jnp.arange(x.shape[-2]) if positions is None else positions
        speed = base ** (jnp.arange(half, dtype=wide.dtype) * (-1 / max(half, 1)))
        angle = t.astype(wide.dtype)[:, None] * speed[None, :]
        shape = (*x.shape[:-1], half)
        cos, sin = (jnp.broadcast_to(f(angle), shape) for f in (jnp.cos, lambda a: direction * jnp.sin(a)))
        a, b, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1).astype(x.dtype)

    def fwd(
        x: Float[Array, "*B T D"], positions: Annotated[Int[Array, "T"] | None, Below("T")] = None
    ) -> tuple[Float[Array, "*B T D"], Int[Array, "T"] | None]:
        """(y_i, y_{i+D/2}) = (x_i, x_{i+D/2}) turned by the angle t·base^(−2i/D), for x (*B, T, D), i < D/2.

        ``positions`` are the t; without them 0, 1, …, T − 1. The angle is computed in float32 at least.
        Raises ShapeError where they do not fit.
        """
        if x.ndim < 2 or (positions is not None and positions.shape != x.shape[-2:-1]):
            got = "none" if positions is None else positions.shape
            raise ShapeError(f"rotary got x {x.shape}, positions {got}; it wants x (*B, T, D), positions (T,)")
        return turned(x, positions, 1), positions

    def bwd(positions: Int[Array, "T"] | None, dy: Float[Array, "*B T D"]) -> tuple[Float[Array, "*B T D"], None]:
        """dx = dy turned back, by the same angles: the transpose of a rotation is its inverse. Saves no x."""
        return turned(dy, positions, -1), None

    return Rule(fwd, bwd)
