"""Mistakes that the tests' tables cannot plant, since they are not in a backward alone: each returns what to check."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import Rule


def value_shifted():
    sine = jax.custom_vjp(jnp.sin)
    sine.defvjp(lambda x: (jnp.sin(x) + 1, x), lambda x, dy: (dy * jnp.cos(x),))
    return sine, "N"


def noise_from_a_counter():
    count = itertools.count(1)

    def fwd(x):
        return jnp.sin(x), x

    def bwd(x, dy):
        return (dy * jnp.cos(x) + next(count),)

    return Rule(fwd, bwd), "N"


def last_block_forgotten():
    def sine(x):  # as a kernel does, out of sight of autodiff
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")

    def bwd(x, dy):
        block = 4
        whole = x.shape[-1] // block * block
        return (dy * jnp.cos(x) * (jnp.arange(x.shape[-1]) < whole),)

    return Rule(lambda x: (sine(x), x), bwd), np.linspace(0, 3, 35).reshape(5, 7)


def angle_doubled():
    def fwd(x):
        return jnp.sin(x), x

    def bwd(x, dy):
        return (dy * jnp.cos(2 * x),)

    return Rule(fwd, bwd), "N D"
