"""Each initializer against the distribution given in its source."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import initializers

SHAPE = (151, 301)  # fan_in 151, fan_out 301
FIELD = (3, 5, 31, 101)  # a kernel: fan_in 3·5·31, fan_out 3·5·101


@pytest.mark.parametrize(
    ("init", "shape", "variance", "bound"),
    [
        (initializers.normal(0.3), SHAPE, 0.09, math.inf),
        (initializers.normal(), SHAPE, 1e-4, math.inf),
        (initializers.uniform(-2, 1), SHAPE, 9 / 12, 2),
        (initializers.uniform(), SHAPE, 1 / 12, 0.5),
        (initializers.glorot_normal(), SHAPE, 2 / 452, math.inf),
        (initializers.glorot_uniform(), SHAPE, 2 / 452, math.sqrt(6 / 452)),
        (initializers.he_normal(), SHAPE, 2 / 151, math.inf),
        (initializers.he_uniform(), SHAPE, 2 / 151, math.sqrt(6 / 151)),
        (initializers.lecun_normal(), SHAPE, 1 / 151, math.inf),
        (initializers.lecun_uniform(), SHAPE, 1 / 151, math.sqrt(3 / 151)),
        (initializers.he_normal(), FIELD, 2 / 465, math.inf),
        (initializers.glorot_uniform(), FIELD, 2 / (465 + 1515), math.sqrt(6 / 1980)),
    ],
)
def test_variance_and_support(init, shape, variance, bound):
    w = np.array(init(jax.random.key(0), shape))
    assert w.shape == shape
    assert w.dtype == np.float64
    assert w.var() == pytest.approx(variance, rel=0.03)
    assert np.abs(w).max() <= bound
    assert bound == math.inf or np.abs(w).max() > 0.99 * bound
    kurtosis = ((w - w.mean()) ** 4).mean() / w.var() ** 2
    assert kurtosis == pytest.approx(3 if bound == math.inf else 1.8, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16], ids=["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ["zeros", "normal", "uniform", "glorot_normal", "glorot_uniform", "he_normal"])
def test_the_dtype_is_the_one_asked_for(name, dtype):
    assert getattr(initializers, name)()(jax.random.key(0), (3, 5), dtype).dtype == dtype


def test_keys_and_zeros():
    init = initializers.he_normal()
    a, b = (init(jax.random.key(i), (3, 5)) for i in (0, 1))
    assert not jnp.array_equal(a, b)
    assert not initializers.zeros()(jax.random.key(0), (3, 5)).any()


def test_bad_requests():
    with pytest.raises(ValueError, match="at least two axes"):
        initializers.he_normal()(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match="low < high"):
        initializers.uniform(1, 1)
