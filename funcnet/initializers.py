"""Initializers: ``(key, shape, dtype=float) -> array``, each made by a factory.

Fans assume the output on the last axis: a dense weight (I, O) has fan_in I and fan_out O; for a kernel (H, W, I, O)
both are multiplied by the receptive field H·W. Initializers that need a fan raise ValueError for fewer than two axes.
"""

import math

import jax
import jax.numpy as jnp

from .types import Initializer, Shape, require_key


def zeros() -> Initializer:
    """Zeros, for biases: they need not break symmetry (Glorot & Bengio 2010, section 2.3)."""

    def init(key, shape: Shape, dtype=float):
        return jnp.zeros(shape, dtype)

    return init


def normal(stddev: float = 0.01) -> Initializer:
    """N(0, stddev²); 0.01 as in Krizhevsky, Sutskever & Hinton (2012), section 5."""

    def init(key, shape: Shape, dtype=float):
        return stddev * jax.random.normal(require_key("an initializer", key), shape, dtype)

    return init


def uniform(low: float = -0.5, high: float = 0.5) -> Initializer:
    """U(low, high); around zero as in Rumelhart, Hinton & Williams (1986). Raises ValueError unless low < high."""
    if not low < high:
        raise ValueError(f"uniform expects low < high; got {low} and {high}")

    def init(key, shape: Shape, dtype=float):
        return jax.random.uniform(require_key("an initializer", key), shape, dtype, low, high)

    return init


def glorot_normal() -> Initializer:
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 12)."""
    return _scaled_normal(lambda fan_in, fan_out: 2 / (fan_in + fan_out))


def glorot_uniform() -> Initializer:
    """U(−a, a), a = √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 16)."""
    return _scaled_uniform(lambda fan_in, fan_out: 2 / (fan_in + fan_out))


def he_normal() -> Initializer:
    """N(0, 2 / fan_in), which keeps the variance through a relu (He et al. 2015, equation 10)."""
    return _scaled_normal(lambda fan_in, fan_out: 2 / fan_in)


def he_uniform() -> Initializer:
    """U(−a, a), a = √(6 / fan_in): a uniform distribution of the same variance as ``he_normal``."""
    return _scaled_uniform(lambda fan_in, fan_out: 2 / fan_in)


def lecun_normal() -> Initializer:
    """N(0, 1 / fan_in) (LeCun, Bottou, Orr & Müller 1998, equation 16)."""
    return _scaled_normal(lambda fan_in, fan_out: 1 / fan_in)


def lecun_uniform() -> Initializer:
    """U(−a, a), a = √(3 / fan_in): a uniform distribution of the same variance as ``lecun_normal``."""
    return _scaled_uniform(lambda fan_in, fan_out: 1 / fan_in)


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"a fan needs a weight of at least two axes (*field, in, out); got shape {shape}")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _scaled_normal(variance) -> Initializer:
    return lambda key, shape, dtype=float: normal(math.sqrt(variance(*_fans(shape))))(key, shape, dtype)


def _scaled_uniform(variance) -> Initializer:
    # a uniform distribution on (−a, a) has variance a²/3
    def init(key, shape: Shape, dtype=float):
        a = math.sqrt(3 * variance(*_fans(shape)))
        return uniform(-a, a)(key, shape, dtype)

    return init
