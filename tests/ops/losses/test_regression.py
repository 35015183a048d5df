import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

from funcnet import ops
from tests.cases import normal


def value_and_slopes(rule, predictions, targets):
    y, residuals = rule.fwd(jnp.asarray(predictions), jnp.asarray(targets))
    return np.asarray(y), *map(np.asarray, rule.bwd(residuals, jnp.ones_like(y)))


def test_means_are_over_every_element():
    p, t = normal(0, 3, 5), normal(1, 3, 5)
    assert float(ops.mean_squared_error().fwd(p, t)[0]) == pytest.approx(metrics.mean_squared_error(t, p))
    assert float(ops.mean_absolute_error().fwd(p, t)[0]) == pytest.approx(metrics.mean_absolute_error(t, p))
    assert float(ops.huber(0.3).fwd(p, t)[0]) == pytest.approx(float(optax.huber_loss(p, t, delta=0.3).mean()))


def test_the_mean_absolute_error_at_its_kink():
    y, dp, dt = value_and_slopes(ops.mean_absolute_error("none"), [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert y.tolist() == [1, 0, 1]
    assert dp.tolist() == [-1, 0, 1]
    assert dt.tolist() == [1, 0, -1]


def test_huber_is_smooth_where_its_pieces_meet():
    for delta in (0.5, 2.0):
        at = delta * np.array([-3, -1, -0.5, 0, 0.5, 1, 3])
        y, dp, dt = value_and_slopes(ops.huber(delta, reduction="none"), at, np.zeros(7))
        assert y.tolist() == [2.5 * delta**2, *(0.5 * at[1:-1] ** 2), 2.5 * delta**2]
        assert dp.tolist() == [-delta, *at[1:-1], delta]
        assert (dt == -dp).all()
        automatic = jax.vjp(lambda p, d=delta: ops.huber(d, reduction="none").fwd(p, jnp.zeros(7))[0], jnp.array(at))[1]
        np.testing.assert_array_equal(dp, automatic(jnp.ones(7))[0])  # at 0 and at ±δ too


def test_huber_takes_no_square_of_a_far_target():
    far = np.array([3e38, 1e30], np.float32)
    y, dp, _ = value_and_slopes(ops.huber(reduction="none"), far, 0 * far)
    np.testing.assert_allclose(y, [3e38, 1e30], rtol=1e-6)
    assert dp.tolist() == [1, 1]


def test_a_mean_over_many_in_float16():
    p, t = jnp.ones(70_000, jnp.float16), jnp.zeros(70_000, jnp.float16)
    _, residuals = ops.mean_squared_error().fwd(p, t)
    assert jnp.allclose(ops.mean_squared_error().bwd(residuals, jnp.float16(1))[0], 2 / 70_000, rtol=0.01)
