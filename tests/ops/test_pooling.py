"""Pooling: ties, padding, NaN and narrow dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal


def run(rule, x, dy=None):
    """y and dx, in one program; ``dy`` is y itself unless given."""

    @jax.jit
    def both(x, dy):
        y, residuals = rule.fwd(x)
        return y, rule.bwd(residuals, y if dy is None else jnp.broadcast_to(dy, y.shape))[0]

    return both(x, dy)


def test_at_a_tie_the_first_of_the_equals_gets_the_cotangent():
    _, dx = run(ops.max_pool(), np.array([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1))
    assert dx.ravel().tolist() == [0, 3, 0, 0]


def test_padding_neither_wins_nor_counts():
    for rule in (ops.max_pool(2, padding="SAME"), ops.average_pool(2, padding="SAME")):
        y, dx = run(rule, np.full((1, 3, 3, 1), -2.0), np.ones(()))
        assert y.shape == (1, 2, 2, 1)
        assert (y == -2).all()
        assert float(dx.sum()) == 4  # nothing is lost in the padding


@pytest.mark.parametrize("rule", [ops.max_pool(), ops.average_pool(), ops.global_average_pool])
def test_nan_stays_nan(rule):
    """At any place in the window."""
    x = np.where(np.eye(4, dtype=bool), np.nan, np.arange(4.0)).reshape(4, 2, 2, 1)
    assert np.isnan(jax.jit(lambda x: rule.fwd(x)[0])(x)).all()


def test_sums_do_not_overflow_in_float16():
    """9 · 8000 is more than float16 holds."""
    x = np.full((1, 3, 3, 1), 8000, np.float16)
    x[0, 2, 1] = 8008
    for rule, expected, share in (
        (ops.max_pool(3), 8008, 1),
        (ops.average_pool(3), 8000, 1 / 9),
        (ops.global_average_pool, 8000, 1 / 9),
    ):
        y, dx = run(rule, x, np.ones((), np.float16))
        assert y.dtype == dx.dtype == jnp.float16
        assert float(y.item()) == expected
        assert float(dx[0, 2, 1, 0]) == pytest.approx(share, rel=1e-3)


def test_the_mean_of_a_large_image_has_a_gradient_in_float16():
    """256² is more than float16 holds."""
    y, residuals = ops.global_average_pool.fwd(jnp.ones((1, 256, 256, 1), jnp.float16))
    (dx,) = ops.global_average_pool.bwd(residuals, y)
    np.testing.assert_allclose(np.asarray(dx[0, 0], np.float64), 2.0**-16, rtol=1e-3)


def test_global_average_pool_is_average_pool_of_one_window():
    x = normal(0, 3, 2, 3, 2)
    one_window = ops.average_pool((2, 3))
    both = jax.jit(lambda x: (ops.global_average_pool.fwd(x)[0], one_window.fwd(x)[0][:, 0, 0]))
    np.testing.assert_allclose(*both(x), rtol=1e-13)


@pytest.mark.parametrize("make", [ops.max_pool, ops.average_pool])
def test_what_does_not_fit(make):
    with pytest.raises(ShapeError, match=rf"{make.__name__} got x \(5, 5, 3\); it expects an image"):
        make().fwd(jnp.ones((5, 5, 3)))
    with pytest.raises(ShapeError, match=rf"{make.__name__} got an image of \(5, 1\) and a window of \(2, 2\)"):
        make().fwd(jnp.ones((1, 5, 1, 3)))
    with pytest.raises(ValueError, match=rf"{make.__name__}'s padding must be smaller than its window \(2, 2\)"):
        make(padding=((2, 0), (0, 0)))
    with pytest.raises(ValueError, match=rf"{make.__name__}'s window must be an integer"):
        make(0)


def test_global_average_pool_expects_an_image():
    with pytest.raises(ShapeError, match=r"global_average_pool got x \(5, 3\)"):
        ops.global_average_pool.fwd(jnp.ones((5, 3)))
