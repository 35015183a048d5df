"""Linear maps: the dense map and flatten."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..types import Rule, ShapeError


class DenseResiduals(NamedTuple):
    x: Float[Array, "*B I"]
    w: Float[Array, "I O"]


def dense_fwd(
    x: Float[Array, "*B I"], w: Float[Array, "I O"], b: Float[Array, "O"]
) -> tuple[Float[Array, "*B O"], DenseResiduals]:
    """y = x w + b: ``x`` (*B, I), ``w`` (I, O), ``b`` (O,) to ``y`` (*B, O).

    Raises ShapeError where the last axis of x is not the first of w, or b does not fit w.
    """
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0] or b.shape != w.shape[1:]:
        raise ShapeError(f"dense got x {x.shape}, w {w.shape}, b {b.shape}; it wants x (*B, I), w (I, O), b (O,)")
    y = x @ w
    return y + jnp.broadcast_to(b, y.shape), DenseResiduals(x, w)


def dense_bwd(
    residuals: DenseResiduals, dy: Float[Array, "*B O"]
) -> tuple[Float[Array, "*B I"], Float[Array, "I O"], Float[Array, "O"]]:
    """dx = dy wᵀ,  dw = Σ_B xᵀ dy,  db = Σ_B dy.

    A small change δ of the arguments moves y_o by Σ_i (δx_i w_io + x_i δw_io) + δb_o; the factor of each δ in the sum
    of dy_o δy_o over the batch and o is its cotangent. The batch axes are merged into one, so that every rank is one
    matrix product. Saves x and w.
    """
    x, w = residuals
    x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return dy @ w.T, x_rows.T @ dy_rows, dy_rows.sum(axis=0)


dense = Rule(dense_fwd, dense_bwd)


def flatten_fwd(x: Float[Array, "N *S"]) -> tuple[Float[Array, "N F"], Float[Array, "0 *S"]]:
    """y = x with every axis after the batch merged into one: (N, *S) to (N, F), where F = ∏ S."""
    return x.reshape(x.shape[0], -1), x[:0]


def flatten_bwd(residuals: Float[Array, "0 *S"], dy: Float[Array, "N F"]) -> tuple[Float[Array, "N *S"]]:
    """dx = dy in the shape of x: no element moves in memory.

    Saves an array of no elements, which carries the shape and no bytes.
    """
    return (dy.reshape(dy.shape[0], *residuals.shape[1:]),)


flatten = Rule(flatten_fwd, flatten_bwd)
