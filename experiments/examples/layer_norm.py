"""The README's derivation with a mistake: a layer norm whose variance is taken for a constant."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def layer_norm_fwd(x: Float[Array, "N D"], gain: Float[Array, "D"]):
    c = x - x.mean(axis=-1, keepdims=True)
    var = jnp.mean(c * c, axis=-1, keepdims=True)
    xhat = c / jnp.sqrt(var + 1e-5)
    return gain * xhat, (xhat, var, gain)


def layer_norm_bwd(residuals, dy):
    xhat, var, gain = residuals
    d = gain * dy
    dx = (d - d.mean(axis=-1, keepdims=True)) / jnp.sqrt(var + 1e-5)
    return dx, (dy * xhat).sum(axis=0)
