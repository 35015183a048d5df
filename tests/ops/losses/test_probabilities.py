"""Losses on probabilities: at certainty, where a logarithm is of 0, and against the losses on logits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from funcnet import ops
from tests.cases import logits_and_labels, normal, two_distributions

INF = math.inf
NONE = "none"


def dp_of(rule, *args):
    y, residuals = rule.fwd(*args)
    return np.asarray(rule.bwd(residuals, jnp.ones_like(y))[0])


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["float64", "float32"])
def test_certain_probabilities(dtype):
    """Rightly certain costs nothing, and has the slope of the side that there is; wrongly certain costs infinity."""
    p, t = (jnp.array(values, dtype) for values in ([0, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0.5, 0.5]))
    rule = ops.binary_cross_entropy(NONE)
    assert rule.fwd(p, t)[0].tolist() == [0, 0, INF, INF, INF, INF]
    assert dp_of(rule, p, t).tolist() == [1, -1, -INF, INF, -INF, INF]


@pytest.mark.parametrize("factory", [ops.categorical_cross_entropy, ops.kl_divergence])
def test_an_impossible_class(factory):
    p = jnp.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    t = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    assert factory(NONE).fwd(p, t)[0].tolist() == [pytest.approx(math.log(2), rel=1e-15), INF]
    assert dp_of(factory(NONE), p, t).tolist() == [[0, -2, 0], [0, -1, -INF]]


def test_a_label_of_an_impossible_class():
    p, labels = jnp.array([[0.0, 0.25, 0.75], [0.0, 0.25, 0.75]]), jnp.array([1, 0])
    rule = ops.sparse_categorical_cross_entropy(NONE)
    assert rule.fwd(p, labels)[0].tolist() == [pytest.approx(math.log(4), rel=1e-15), INF]
    assert dp_of(rule, p, labels).tolist() == [[0, -4, 0], [-INF, 0, 0]]


def test_the_smallest_probabilities_keep_their_digits():
    p = jnp.array([1e-300, 1e-20])
    np.testing.assert_allclose(ops.binary_cross_entropy(NONE).fwd(p, jnp.zeros(2))[0], p, rtol=1e-15)


def test_a_divergence_is_zero_at_its_target_and_positive_elsewhere():
    p, t = two_distributions((11,))
    rule = ops.kl_divergence(NONE)
    np.testing.assert_allclose(rule.fwd(jnp.asarray(t), jnp.asarray(t))[0], 0, atol=1e-15)
    assert (rule.fwd(p, t)[0] > 0.01).all()
    entropy = -(t * np.log(t)).sum(axis=-1)
    np.testing.assert_allclose(
        rule.fwd(p, t)[0], ops.categorical_cross_entropy(NONE).fwd(p, t)[0] - entropy, rtol=1e-13
    )


def test_as_scikit_learn_has_them():
    p, labels = ops.softmax.fwd(jnp.asarray(normal(0, 11, 7)))[0], np.arange(11) % 7
    expected = metrics.log_loss(labels, p)
    assert float(ops.sparse_categorical_cross_entropy().fwd(p, labels)[0]) == pytest.approx(expected, rel=1e-12)
    one_hot = jax.nn.one_hot(labels, 7, dtype=p.dtype)
    assert float(ops.categorical_cross_entropy().fwd(p, one_hot)[0]) == pytest.approx(expected, rel=1e-12)
    q, t = np.random.default_rng(0).uniform(size=11), np.arange(11) % 2
    binary = ops.binary_cross_entropy().fwd(q, t.astype(float))[0]
    assert float(binary) == pytest.approx(metrics.log_loss(t, q), rel=1e-12)


def test_behind_their_activation_they_are_the_losses_on_logits():
    """softmax's and sigmoid's backward after these is the famous p − t."""
    z, labels = map(jnp.asarray, logits_and_labels((11,)))
    one_hot = jax.nn.one_hot(labels, 7, dtype=z.dtype)
    for activation, on_probabilities, on_logits, targets in [
        (ops.softmax, ops.sparse_categorical_cross_entropy(), ops.sparse_softmax_cross_entropy(), labels),
        (ops.softmax, ops.categorical_cross_entropy(), ops.softmax_cross_entropy(), one_hot),
        (ops.sigmoid, ops.binary_cross_entropy(), ops.sigmoid_binary_cross_entropy(), one_hot),
    ]:
        p, residuals = activation.fwd(z)
        assert float(on_probabilities.fwd(p, targets)[0]) == pytest.approx(
            float(on_logits.fwd(z, targets)[0]), rel=1e-12
        )
        (dz,) = activation.bwd(residuals, dp_of(on_probabilities, p, targets))
        np.testing.assert_allclose(dz, dp_of(on_logits, z, targets), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_out_of_range_is_never_silent(label):
    rule, p = ops.sparse_categorical_cross_entropy(), jnp.full((3, 7), 1 / 7)
    assert jnp.isnan(rule.fwd(p, jnp.array([0, label, 2]))[0])
    assert np.isnan(dp_of(rule, p, jnp.array([0, label, 2]))[1]).all()
