"""Weights: both means against well-known libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

import funcnet
from funcnet import ops, optimizers
from funcnet.types import ShapeError
from tests.cases import logits_and_labels, normal, pair, with_weights

ABSOLUTE = ops.mean_absolute_error("none")


def value(rule, predictions, targets, weights):
    return float(rule.fwd(predictions, (targets, jnp.asarray(weights)))[0])


@pytest.mark.parametrize(
    ("factory", "theirs"),
    [(ops.mean_absolute_error, metrics.mean_absolute_error), (ops.mean_squared_error, metrics.mean_squared_error)],
)
def test_the_mean_agrees_with_scikit_learn(factory, theirs):
    p, (t, w) = with_weights(pair)((11,))
    assert value(ops.weighted(factory("none")), p, t, w) == pytest.approx(theirs(t, p, sample_weight=w), rel=1e-13)


def test_both_means_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    p, (t, w) = with_weights(pair)((11,))
    tensors = [torch.tensor(np.asarray(a)) for a in (p, t)]
    theirs = f.mse_loss(*tensors, weight=torch.tensor(w)[:, None].expand(11, 7)).item()
    assert value(ops.weighted(ops.mean_squared_error("none")), p, t, w) == pytest.approx(theirs, rel=1e-12)

    z, labels = logits_and_labels((11,))
    of_class = np.linspace(0.5, 2, 7)
    theirs = f.cross_entropy(torch.tensor(z), torch.tensor(labels), weight=torch.tensor(of_class)).item()
    rule = ops.weighted(ops.sparse_softmax_cross_entropy(reduction="none"))
    assert value(rule, z, labels, of_class[labels]) == pytest.approx(theirs, rel=1e-12)

    q, targets = np.random.default_rng(0).uniform(size=11), np.arange(11) % 2.0
    theirs = f.binary_cross_entropy(torch.tensor(q), torch.tensor(targets), weight=torch.tensor(w)).item()
    rule = ops.weighted(ops.binary_cross_entropy("none"), "sum_over_batch_size")
    assert value(rule, q, targets, w) == pytest.approx(theirs, rel=1e-12)


def test_a_whole_weight_is_that_many_copies_and_only_ratios_matter():
    p, t = pair((5,))
    w = np.array([0, 1, 2, 3, 1])
    copies = np.repeat(p, w, axis=0), np.repeat(t, w, axis=0)
    rule = ops.weighted(ABSOLUTE)
    expected = float(ops.mean_absolute_error().fwd(*copies)[0])
    for scale in (1.0, 0.01, 7.0):
        assert value(rule, p, t, scale * w) == pytest.approx(expected, rel=1e-13)
    assert np.isnan(value(rule, p, t, 0.0 * w))


@pytest.mark.parametrize("reduction", ["mean", "sum_over_batch_size"])
def test_equal_weights_change_nothing(reduction):
    p, t = pair((3, 5))
    plain, rule = ops.mean_absolute_error(), ops.weighted(ABSOLUTE, reduction)
    expected, plain_residuals = plain.fwd(p, t)
    for weights in (jnp.ones(3), jnp.ones((3, 5)), jnp.ones((3, 5, 7))):
        y, residuals = rule.fwd(p, (t, weights))
        assert float(y) == pytest.approx(float(expected), rel=1e-14)
        dp, (dt, _) = rule.bwd(residuals, jnp.array(1.7))
        for got, want in zip((dp, dt), plain.bwd(plain_residuals, jnp.array(1.7)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-14)


def test_training_respects_weights():
    """With two targets for one input, weighted 3 to 1, the network learns their weighted mean."""
    net = funcnet.serial(funcnet.dense(1))
    params, _ = net.init(jax.random.key(0), (2,))
    x, t, w = np.ones((8, 2)), np.tile([[0.0], [1.0]], (4, 1)), np.tile([3.0, 1.0], 4)
    loss = ops.weighted(ops.mean_squared_error("none"))
    settings = {"key": jax.random.key(1), "epochs": 60, "batch_size": 8, "progress": False}
    run = funcnet.fit(net, loss, optimizers.sgd(0.1), params, (x, (t, w)), **settings)
    assert float(net.fwd(run.params, x[:1])[0][0, 0]) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "weights"),
    [(ABSOLUTE, (5,)), (ABSOLUTE, (3, 1)), (ABSOLUTE, (3, 5, 1)), (ops.mean_absolute_error(), (3,))],
    ids=["another axis", "to be broadcast", "too many axes", "a loss that is reduced"],
)
def test_weights_that_do_not_fit(loss, weights):
    p = jnp.asarray(normal(0, 3, 5))
    with pytest.raises(ShapeError, match=r"'none', and weights .*; got terms \((3, 5)?\) and weights \("):
        ops.weighted(loss).fwd(p, (p, jnp.ones(weights)))


def test_unknown_reduction():
    with pytest.raises(ValueError, match="got 'average'"):
        ops.weighted(ABSOLUTE, "average")
