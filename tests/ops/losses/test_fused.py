import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close

X, TABLE, BIAS = (jnp.asarray(normal(seed, *shape)) for seed, shape in enumerate([(2, 5, 3), (7, 3), (7,)]))
LABELS = np.random.default_rng(0).integers(7, size=(2, 5))


@pytest.mark.parametrize(
    ("smoothing", "reduction", "chunk", "bias"), [(0.0, "mean", 256, False), (0.1, "none", 4, True)]
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


def test_the_logits_are_never_held():
    rule, (n, k) = ops.linear_softmax_cross_entropy(chunk=32), (512, 1000)
    x, table, labels = (jax.ShapeDtypeStruct(s, t) for s, t in (((n, 8), float), ((k, 8), float), ((n,), int)))
    both = jax.jit(lambda p, labels: rule.bwd(rule.fwd(p, labels)[1], jnp.ones(())))
    compiled = both.lower((x, table), labels).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < n * k * 8 / 4


def test_what_does_not_fit():
    rule = ops.linear_softmax_cross_entropy()
    for predictions in ((X, TABLE.T), (X, TABLE, BIAS[1:]), (X, BIAS)):
        with pytest.raises(ShapeError, match=r"it wants x \(\*B, D\), a table \(K, D\)"):
            rule.fwd(predictions, LABELS)
    with pytest.raises(ShapeError, match=r"integer labels \(\*B\); got \(2, 5, 3\) and int64 \(5,\)"):
        rule.fwd((X, TABLE), LABELS[0])
    with pytest.raises(ValueError, match="at least one row in a chunk; got 0"):
        ops.linear_softmax_cross_entropy(chunk=0)
