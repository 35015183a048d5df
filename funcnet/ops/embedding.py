"""Embeddings: a learned row of a table for every token and for every position. ``rotary`` is in ``ops.rotary``."""

from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..types import Below, Residuals, Rule, ShapeError, at_least_float32, require_arrays

# ---------------------------------------------------------------- tokens


def embedding_fwd(
    table: Float[Array, "V D"], tokens: Annotated[Int[Array, "*B"], Below("V")]
) -> tuple[Float[Array, "*B D"], Residuals]:
    """y = table[tokens]: ``table`` (V, D), integer ``tokens`` (*B) to ``y`` (*B, D).

    A token outside [0, V) gives a row of NaN, since values cannot raise under jit and a clipped or wrapped index would
    go unnoticed. Raises ShapeError, also if tokens are not integers.
    """
    require_arrays("embedding", table, tokens)
    if table.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ShapeError(
            f"embedding expects a table (V, D) and integer tokens (*B); "
            f"got {table.shape} and {tokens.dtype} {tokens.shape}"
        )
    tokens = tokens.astype(jnp.int32)  # a byte cannot be compared with 256 rows
    y = jnp.take(table, _rows(tokens, len(table)), axis=0, mode="fill", fill_value=jnp.nan)
    return y, (tokens, table[:, :0])


def embedding_bwd(residuals: Residuals, dy: Float[Array, "*B D"]) -> tuple[Float[Array, "V D"], None]:
    """dtable_v = Σ_{b: token_b = v} dy_b.

    y_b = Σ_v [token_b = v] table_v is linear in the table, and this is its transpose: a row used n times gets the sum
    of n cotangents, added in float32 or wider, and an unused row gets 0. Tokens outside [0, V) are dropped.
    Saves the tokens, and an array with no elements that carries the table's size and dtype.
    """
    tokens, empty = residuals
    dtable = jnp.zeros((len(empty), dy.shape[-1]), at_least_float32(dy.dtype))
    dtable = dtable.at[_rows(tokens, len(empty))].add(dy.astype(dtable.dtype), mode="drop")
    return dtable.astype(empty.dtype), None


embedding = Rule(embedding_fwd, embedding_bwd)


def _rows(tokens: Int[Array, "*B"], vocabulary: int) -> Int[Array, "*B"]:
    """The tokens, with V for any outside [0, V): JAX counts a negative index from the end, but no row has index V."""
    return jnp.where((tokens >= 0) & (tokens < vocabulary), tokens, jnp.full_like(tokens, vocabulary))


# ---------------------------------------------------------------- learned positions


def positions_fwd(
    x: Float[Array, "N *S T D"], table: Float[Array, "L D"]
) -> tuple[Float[Array, "N *S T D"], Float[Array, "L 0"]]:
    """y_t = x_t + table_t, t < T ≤ L: ``x`` (*B, T, D) and a learned ``table`` (L, D) (Gehring et al. 2017).

    Raises ShapeError, also if there are more positions than rows.
    """
    require_arrays("positions", x, table)
    if x.ndim < 2 or table.shape[1:] != x.shape[-1:] or x.shape[-2] > len(table):
        raise ShapeError(
            f"positions got x {x.shape}, table {table.shape}; it expects x (*B, T, D), table (L, D), T <= L"
        )
    return x + jnp.broadcast_to(table[: x.shape[-2]], x.shape), table[:, :0]


def positions_bwd(
    empty: Float[Array, "L 0"], dy: Float[Array, "N *S T D"]
) -> tuple[Float[Array, "N *S T D"], Float[Array, "L D"]]:
    """dx = dy,  dtable_t = Σ dy_t over all axes before T, and 0 for the rows from T on.

    Saves an array with no elements, which carries the number of rows.
    """
    used = dy.sum(tuple(range(dy.ndim - 2)))
    return dy, jnp.pad(used, ((0, len(empty) - len(used)), (0, 0)))


positions = Rule(positions_fwd, positions_bwd)
