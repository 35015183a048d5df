import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.ops.normalization import Population
from funcnet.types import ShapeError
from tests.cases import normal


@pytest.mark.parametrize(("dtype", "offset"), [(jnp.float32, 1e4), (jnp.bfloat16, 64.0)], ids=["float32", "bfloat16"])
def test_a_mean_far_from_zero_leaves_the_variance_whole(dtype, offset):
    """In one pass, E[x²] − E[x]² would lose every digit."""
    x = jnp.asarray(offset + 2 * normal(0, 1001, 3), dtype)
    y, residuals = ops.batch_norm().fwd(x, jnp.ones(3, dtype), jnp.zeros(3, dtype))
    exact = np.asarray(x).astype(float)
    assert y.dtype == dtype
    assert residuals.population.var.dtype == jnp.float32
    np.testing.assert_allclose(residuals.population.var, exact.var(axis=0, ddof=1), rtol=1e-5)
    xhat = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    np.testing.assert_allclose(np.asarray(y).astype(float), xhat, rtol=2 * float(jnp.finfo(dtype).eps), atol=1e-3)


def test_a_constant_channel_gives_beta():
    x = jnp.ones((5, 3)) * jnp.array([[0.0, -7.0, 1e6]])
    beta = jnp.array([1.0, 2.0, 3.0])
    rule = ops.batch_norm()
    y, residuals = rule.fwd(x, jnp.ones(3), beta)
    assert jnp.array_equal(y, jnp.broadcast_to(beta, y.shape))
    assert all(jnp.isfinite(d).all() for d in rule.bwd(residuals, jnp.asarray(normal(0, 5, 3))))


def test_the_gradient_ignores_shift_and_scale_of_x():
    """ŷ does not move when all of a channel shifts, nor, but for eps, when it is stretched: dx ⟂ 1 and dx ⟂ x̂."""
    rule, x = ops.batch_norm(1e-14), jnp.asarray(normal(0, 11, 3))
    _, residuals = rule.fwd(x, jnp.asarray(normal(1, 3)), jnp.asarray(normal(2, 3)))
    dx, _, _ = rule.bwd(residuals, jnp.asarray(normal(3, 11, 3)))
    assert jnp.allclose(dx.sum(axis=0), 0, atol=1e-13)
    assert jnp.allclose((dx * x).sum(axis=0), 0, atol=1e-11)
    assert (jnp.abs(dx) > 1e-3).any()


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_vectors_that_do_not_fit(wrong):
    gamma, beta, mean, var = (jnp.ones(5 if i == wrong else 7) for i in range(4))
    with pytest.raises(ShapeError, match=r"batch_norm_inference got x \(2, 7\) and vectors .*\(5,\)"):
        ops.batch_norm_inference().fwd(jnp.ones((2, 7)), gamma, beta, Population(mean, var))


NORMS = [
    pytest.param(ops.layer_norm(), 2, id="layer_norm"),
    pytest.param(ops.rms_norm(), 1, id="rms_norm"),
    pytest.param(ops.group_norm(3), 2, id="group_norm"),
]


@pytest.mark.parametrize(("rule", "vectors"), NORMS)
def test_squares_above_float16_and_a_mean_far_from_zero(rule, vectors):
    """300² is above float16's largest number, and E[x²] − E[x]² would keep no digit: statistics are float32."""
    x = jnp.asarray(300 + 2 * normal(0, 5, 99), jnp.float16)
    fwd, gains = jax.jit(rule.fwd), (jnp.ones(99), jnp.zeros(99))[:vectors]
    y, residuals = fwd(x, *(gain.astype(jnp.float16) for gain in gains))
    exact, _ = fwd(x.astype(float), *gains)
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(y.astype(float), exact, rtol=2 * float(jnp.finfo(jnp.float16).eps), atol=1e-3)
    assert all(np.isfinite(d).all() for d in jax.jit(rule.bwd)(residuals, y))


@pytest.mark.parametrize(("rule", "vectors"), NORMS)
def test_a_constant_x_gives_beta_and_a_finite_gradient(rule, vectors):
    beta = jnp.arange(9.0)
    fwd, bwd = jax.jit(rule.fwd), jax.jit(rule.bwd)
    for value in (0.0, 1e6):
        y, residuals = fwd(jnp.full((2, 9), value), *(jnp.ones(9), beta)[:vectors])
        expected = beta if vectors == 2 else np.full(9, float(value > 0))  # RMS norm subtracts no mean
        np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-10)
        assert all(np.isfinite(d).all() for d in bwd(residuals, jnp.ones((2, 9))))


def test_examples_are_independent():
    x = jnp.asarray(normal(0, 3, 5, 9))
    for rule, vectors in (param.values for param in NORMS):
        gains = (jnp.ones(9), jnp.zeros(9))[:vectors]
        among, alone = jax.jit(lambda rule=rule, gains=gains: (rule.fwd(x, *gains)[0], rule.fwd(x[1:2], *gains)[0]))()
        np.testing.assert_allclose(among[1:2], alone, rtol=1e-13)


def test_one_group_is_the_layer_norm_of_a_row_and_a_group_a_channel_instance_normalisation():
    x, gamma, beta = jnp.asarray(normal(0, 5, 7)), jnp.asarray(normal(1, 7)), jnp.asarray(normal(2, 7))
    image = jnp.asarray(normal(0, 2, 3, 5, 7))
    one, layer, instance = jax.jit(
        lambda: [
            rule.fwd(x, gamma, beta)[0]
            for rule, x in ((ops.group_norm(1), x), (ops.layer_norm(), x), (ops.group_norm(7), image))
        ]
    )()
    np.testing.assert_allclose(one, layer, rtol=1e-13)
    np.testing.assert_allclose(instance.mean(axis=(1, 2)), np.broadcast_to(beta, (2, 7)), rtol=1e-12)


def test_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="at least one group; got 0"):
        ops.group_norm(0)
    with pytest.raises(ShapeError, match=r"group_norm got x \(2, 7\); .* a multiple of 3"):
        ops.group_norm(3).fwd(jnp.ones((2, 7)), jnp.ones(7), jnp.ones(7))
    with pytest.raises(ShapeError, match=r"rms_norm got x \(2, 7\) and vectors \(5,\)"):
        ops.rms_norm().fwd(jnp.ones((2, 7)), jnp.ones(5))
