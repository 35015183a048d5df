"""Cross-entropy of logits, of probabilities and of the linear map: extremes, bad labels, each against the others."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import logits_and_labels, normal, two_distributions
from tests.trees import assert_close

INF = math.inf
NONE = "none"
X, TABLE, BIAS = (jnp.asarray(normal(seed, *shape)) for seed, shape in enumerate([(2, 5, 3), (7, 3), (7,)]))
LABELS = np.random.default_rng(0).integers(7, size=(2, 5))


def dp_of(rule, *args):
    y, residuals = rule.fwd(*args)
    return np.asarray(rule.bwd(residuals, jnp.ones_like(y))[0])


# ---------------------------------------------------------------- of logits


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
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]; got"):
        factory(smoothing)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_out_of_range_is_never_silent_on_logits(label):
    rule = ops.sparse_softmax_cross_entropy()
    y, residuals = rule.fwd(normal(0, 3, 7), jnp.array([0, label, 2]))
    assert jnp.isnan(y)
    assert jnp.isnan(rule.bwd(residuals, jnp.ones_like(y))[0][1]).all()


# ---------------------------------------------------------------- of the linear map that makes the logits


@pytest.mark.parametrize(
    ("smoothing", "reduction", "chunk", "bias"),
    [(0.0, "mean", 256, False), (0.1, "sum", 3, True), (0.1, "none", 4, True)],
)
def test_it_is_the_loss_of_the_logits(smoothing, reduction, chunk, bias):
    predictions = (X, TABLE, BIAS) if bias else (X, TABLE)
    weights = jnp.asarray(np.abs(normal(4, 2, 5)))
    fused = ops.linear_softmax_cross_entropy(smoothing, chunk, reduction=reduction)
    plain = ops.sparse_softmax_cross_entropy(smoothing, reduction=reduction)
    targets = LABELS
    if reduction == "none":  # the rows may be weighted, and a weight of 0 leaves one out
        fused, plain, targets = ops.weighted(fused), ops.weighted(plain), (LABELS, weights.at[0, 1].set(0))

    @jax.jit
    def both(predictions):
        def loss(predictions):
            x, table, *b = predictions
            return plain.fwd(x @ table.T + sum(b, jnp.zeros((1, 1, 1))), targets)[0]

        y, residuals = fused.fwd(predictions, targets)
        return (y, fused.bwd(residuals, jnp.full_like(y, 1.7))[0]), (
            loss(predictions),
            jax.grad(lambda p: 1.7 * loss(p))(predictions),
        )

    with jax.numpy_rank_promotion("allow"):
        got, expected = both(predictions)
    assert_close(got, expected, 1e-12, 1e-13)


def test_a_label_without_a_class_gives_nan_and_no_other_row_does():
    rule = ops.linear_softmax_cross_entropy(chunk=4, reduction="none")
    y, residuals = jax.jit(rule.fwd)((X, TABLE), LABELS * 0 + np.array([0, 1, 7, -1, 6]))
    (dx, _), _ = jax.jit(rule.bwd)(residuals, y)
    assert np.isnan(y).tolist() == [[False, False, True, True, False]] * 2
    assert np.array_equal(np.isnan(dx).all(axis=-1), np.isnan(y))
    assert np.array_equal(np.isnan(dx).any(axis=-1), np.isnan(y))


@pytest.mark.parametrize(("reduction", "products"), [("mean", 3), ("sum", 3), ("none", 4)])
def test_one_pass_over_the_logits_gives_the_value_and_the_gradient(reduction, products):
    rule, (n, k, d) = ops.linear_softmax_cross_entropy(chunk=32, reduction=reduction), (96, 50, 8)
    x, table, labels = (jax.ShapeDtypeStruct(s, t) for s, t in (((n, d), float), ((k, d), float), ((n,), int)))

    def both(p, labels):
        y, residuals = rule.fwd(p, labels)
        return y, rule.bwd(residuals, jnp.ones_like(y))

    def products_of(f) -> int:
        return jax.jit(f).lower((x, table), labels).compile().as_text().count(" dot(")

    assert products_of(both) == products
    assert products_of(lambda p, labels: rule.fwd(p, labels)[0]) == 1  # nobody asks for the gradient


def test_the_logits_are_never_held():
    rule, (n, k) = ops.linear_softmax_cross_entropy(chunk=32), (512, 1000)
    x, table, labels = (jax.ShapeDtypeStruct(s, t) for s, t in (((n, 8), float), ((k, 8), float), ((n,), int)))
    both = jax.jit(lambda p, labels: rule.bwd(rule.fwd(p, labels)[1], jnp.ones(())))
    compiled = both.lower((x, table), labels).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < n * k * 8 / 4


def test_what_does_not_fit():
    rule = ops.linear_softmax_cross_entropy()
    for predictions in ((X, TABLE.T), (X, TABLE, BIAS[1:]), (X, BIAS)):
        with pytest.raises(ShapeError, match=r"it expects x \(\*B, D\), a table \(K, D\)"):
            rule.fwd(predictions, LABELS)
    with pytest.raises(ShapeError, match=r"integer labels \(\*B\); got \(2, 5, 3\) and int64 \(5,\)"):
        rule.fwd((X, TABLE), LABELS[0])
    with pytest.raises(ValueError, match="at least one row in a chunk; got 0"):
        ops.linear_softmax_cross_entropy(chunk=0)


# ---------------------------------------------------------------- of probabilities


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["float64", "float32"])
def test_certain_probabilities(dtype):
    """Certain and right costs nothing, with the one-sided slope; certain and wrong costs infinity."""
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


def test_agrees_with_scikit_learn():
    p, labels = ops.softmax.fwd(jnp.asarray(normal(0, 11, 7)))[0], np.arange(11) % 7
    expected = metrics.log_loss(labels, p)
    assert float(ops.sparse_categorical_cross_entropy().fwd(p, labels)[0]) == pytest.approx(expected, rel=1e-12)
    one_hot = jax.nn.one_hot(labels, 7, dtype=p.dtype)
    assert float(ops.categorical_cross_entropy().fwd(p, one_hot)[0]) == pytest.approx(expected, rel=1e-12)
    q, t = np.random.default_rng(0).uniform(size=11), np.arange(11) % 2
    binary = ops.binary_cross_entropy().fwd(q, t.astype(float))[0]
    assert float(binary) == pytest.approx(metrics.log_loss(t, q), rel=1e-12)


def test_behind_their_activation_they_are_the_losses_on_logits():
    """Followed by the backward of softmax or sigmoid, these give the well-known p − t."""
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
def test_a_label_out_of_range_is_never_silent_on_probabilities(label):
    rule, p = ops.sparse_categorical_cross_entropy(), jnp.full((3, 7), 1 / 7)
    assert jnp.isnan(rule.fwd(p, jnp.array([0, label, 2]))[0])
    assert np.isnan(dp_of(rule, p, jnp.array([0, label, 2]))[1]).all()
