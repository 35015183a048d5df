"""Flatten: a change of shape alone."""

import math

from jaxtyping import Array, Float

from ..types import Rule, require_arrays


def flatten_fwd(x: Float[Array, "N *S"]) -> tuple[Float[Array, "N F"], Float[Array, "0 *S"]]:
    """y = x with every axis after the batch merged into one: (N, *S) to (N, F), F = ∏ S."""
    require_arrays("flatten", x)
    return x.reshape(x.shape[0], math.prod(x.shape[1:])), x[:0]


def flatten_bwd(residuals: Float[Array, "0 *S"], dy: Float[Array, "N F"]) -> tuple[Float[Array, "N *S"]]:
    """dx = dy in the shape of x. Saves an array with no elements, which carries the shape."""
    return (dy.reshape(dy.shape[0], *residuals.shape[1:]),)


flatten = Rule(flatten_fwd, flatten_bwd)
