import math

import jax
import jax.numpy as jnp
import pytest

from funcnet import ops
from tests.cases import normal


def test_cross_entropy_of_equal_logits_is_log_k():
    labels = jnp.array([0, 3, 6])
    for smoothing in (0.0, 0.1):
        value, _ = ops.sparse_softmax_cross_entropy(smoothing).fwd(jnp.ones((3, 7)), labels)
        assert float(value) == pytest.approx(math.log(7), rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sparse_labels_are_one_hot_labels(smoothing):
    logits, labels = 3 * normal(0, 11, 7), jnp.arange(11) % 7
    sparse, one_hot = ops.sparse_softmax_cross_entropy(smoothing), ops.softmax_cross_entropy(smoothing)
    value, residuals = sparse.fwd(logits, labels)
    expected, expected_residuals = one_hot.fwd(logits, jax.nn.one_hot(labels, 7, dtype=logits.dtype))
    assert float(value) == pytest.approx(float(expected), rel=1e-14)
    dy = jnp.array(1.7)
    assert jnp.allclose(sparse.bwd(residuals, dy)[0], one_hot.bwd(expected_residuals, dy)[0], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("label", [0, 1])
def test_stable_at_extreme_logits(label, dtype):
    logits = jnp.array([[1e4, -1e4]], dtype)
    expected = 2e4 if label else 0.0
    cases = [
        (ops.sparse_softmax_cross_entropy(), logits, jnp.array([label]), expected),
        (ops.softmax_cross_entropy(), logits, jnp.array([[1 - label, label]], dtype), expected),
        (ops.sigmoid_binary_cross_entropy("sum"), logits, jnp.array([[1 - label, label]], dtype), expected),
    ]
    for rule, predictions, targets, value in cases:
        y, residuals = rule.fwd(predictions, targets)
        assert float(y) == value
        dz = rule.bwd(residuals, jnp.ones_like(y))[0]
        assert jnp.array_equal(dz, jnp.array([[label, -label]], dtype))


def test_a_class_masked_out_by_minus_infinity_costs_nothing():
    logits = jnp.array([[0.0, 0.0, -jnp.inf]])
    for rule, targets in [
        (ops.sparse_softmax_cross_entropy(), jnp.array([1])),
        (ops.softmax_cross_entropy(), jnp.array([[0.0, 1.0, 0.0]])),
    ]:
        y, residuals = rule.fwd(logits, targets)
        assert float(y) == pytest.approx(math.log(2), rel=1e-15)
        assert jnp.allclose(rule.bwd(residuals, jnp.ones_like(y))[0], jnp.array([[0.5, -0.5, 0.0]]), atol=1e-16)


def test_one_hot_labels_have_a_cotangent_where_they_are_zero_too():
    rule, z, t = ops.softmax_cross_entropy(), jnp.asarray(normal(0, 2, 3)), jnp.eye(3)[:2]
    _, residuals = rule.fwd(z, t)
    expected = jax.vjp(lambda *a: rule.fwd(*a)[0], z, t)[1](jnp.array(1.7))
    for got, want in zip(rule.bwd(residuals, jnp.array(1.7)), expected, strict=True):
        assert jnp.allclose(got, want, rtol=1e-12)
        assert (want != 0).all()


def test_labels_in_bytes():
    logits = jnp.asarray(normal(0, 3, 300))
    rule = ops.sparse_softmax_cross_entropy()
    small, large = (rule.fwd(logits, jnp.array([0, 44, 255], dtype)) for dtype in (jnp.uint8, jnp.int32))
    assert float(small[0]) == float(large[0])
    dz = [rule.bwd(residuals, jnp.array(1.0))[0] for _, residuals in (small, large)]
    assert jnp.array_equal(*dz)


@pytest.mark.parametrize("factory", [ops.softmax_cross_entropy, ops.sparse_softmax_cross_entropy])
@pytest.mark.parametrize("smoothing", [-0.1, 1.5, math.nan])
def test_label_smoothing_is_a_share(factory, smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing lies in \[0, 1\]; got"):
        factory(smoothing)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_out_of_range_is_never_silent(label):
    rule = ops.sparse_softmax_cross_entropy()
    y, residuals = rule.fwd(normal(0, 3, 7), jnp.array([0, label, 2]))
    assert jnp.isnan(y)
    assert jnp.isnan(rule.bwd(residuals, jnp.ones_like(y))[0][1]).all()
