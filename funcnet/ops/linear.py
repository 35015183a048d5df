"""Linear maps: the dense map, and the unembedding, which is a dense map by a table's transpose."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Residuals, Rule, ShapeError, require_arrays


def dense_fwd(
    x: Float[Array, "*B I"], w: Float[Array, "I O"], b: Float[Array, "O"]
) -> tuple[Float[Array, "*B O"], Residuals]:
    """y = x w + b: ``x`` (*B, I), ``w`` (I, O), ``b`` (O,) to ``y`` (*B, O). Raises ShapeError."""
    require_arrays("dense", x, w, b)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0] or b.shape != w.shape[1:]:
        raise ShapeError(f"dense got x {x.shape}, w {w.shape}, b {b.shape}; it expects x (*B, I), w (I, O), b (O,)")
    y = x @ w
    return y + jnp.broadcast_to(b, y.shape), (x, w)


def dense_bwd(
    residuals: Residuals, dy: Float[Array, "*B O"]
) -> tuple[Float[Array, "*B I"], Float[Array, "I O"], Float[Array, "O"]]:
    """dx = dy wᵀ,  dw = Σ_B xᵀ dy,  db = Σ_B dy.

    A small change δ of the arguments moves y_o by Σ_i (δx_i w_io + x_i δw_io) + δb_o; the cotangent of each argument is
    the factor of its δ in the sum of dy_o δy_o over the batch and o. The batch axes are merged into one, so that dw is
    one matrix product at every rank. Saves x and w.
    """
    x, w = residuals
    return dy @ w.T, _rows(x).T @ _rows(dy), _rows(dy).sum(axis=0)


dense = Rule(dense_fwd, dense_bwd)


def unembedding_fwd(x: Float[Array, "*B D"], table: Float[Array, "V D"]) -> tuple[Float[Array, "*B V"], Residuals]:
    """y = x tableᵀ: ``x`` (*B, D), ``table`` (V, D) to logits (*B, V), x · the row of each token (Press & Wolf 2017).

    Raises ShapeError.
    """
    require_arrays("unembedding", x, table)
    if x.ndim < 1 or table.ndim != 2 or x.shape[-1] != table.shape[-1]:
        raise ShapeError(f"unembedding got x {x.shape}, table {table.shape}; it expects x (*B, D), table (V, D)")
    return x @ table.T, (x, table)


def unembedding_bwd(residuals: Residuals, dy: Float[Array, "*B V"]) -> tuple[Float[Array, "*B D"], Float[Array, "V D"]]:
    """dx = dy table,  dtable = Σ_B dyᵀ x: as ``dense_bwd`` with w = tableᵀ. Saves x and table."""
    x, table = residuals
    return dy @ table, _rows(dy).T @ _rows(x)


unembedding = Rule(unembedding_fwd, unembedding_bwd)


def _rows(x: Float[Array, "*B I"]) -> Float[Array, "N I"]:
    """The batch axes merged into one."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
