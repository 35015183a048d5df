"""For every loss: reductions, weights, rejected shapes, and agreement with well-known libraries."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.ops import losses
from funcnet.types import ShapeError
from tests.cases import (
    REDUCTIONS,
    logits_and_labels,
    logits_and_soft_labels,
    normal,
    pair,
    pairs_of_embeddings,
    probabilities_and_labels,
    triplets,
    two_distributions,
    with_weights,
)


class Loss(NamedTuple):
    factory: Callable
    args: Callable
    settings: tuple = ()

    def __call__(self, reduction):
        return self.factory(*self.settings, reduction=reduction)


LOSSES = [
    Loss(ops.mean_squared_error, pair),
    Loss(ops.mean_absolute_error, pair),
    Loss(ops.huber, pair, (0.7,)),
    Loss(ops.binary_cross_entropy, two_distributions),
    Loss(ops.sigmoid_binary_cross_entropy, logits_and_soft_labels),
    Loss(ops.categorical_cross_entropy, two_distributions),
    Loss(ops.sparse_categorical_cross_entropy, probabilities_and_labels),
    Loss(ops.softmax_cross_entropy, logits_and_soft_labels, (0.1,)),
    Loss(ops.sparse_softmax_cross_entropy, logits_and_labels, (0.1,)),
    Loss(ops.kl_divergence, two_distributions),
    Loss(ops.squared_hinge, pair),
    Loss(ops.contrastive, pairs_of_embeddings, (4.0,)),
    Loss(ops.triplet, triplets, (2.0,)),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.factory.__name__)


def test_none_is_missing():
    apart = {"weighted", "linear_softmax_cross_entropy"}  # with tests of their own
    assert {loss.factory.__name__ for loss in LOSSES} | apart == set(losses.__all__)


def assert_backward_is_vjp(rule, predictions, targets):
    """With random cotangents. An integer's cotangent is float0 in autodiff and None by hand."""
    args = jax.tree.map(jnp.asarray, (predictions, targets))
    y, residuals = rule.fwd(*args)
    dy = jnp.asarray(normal(9, *y.shape))
    got, expected = rule.bwd(residuals, dy), jax.vjp(lambda *a: rule.fwd(*a)[0], *args)[1](dy)

    def compare(want, have):
        if have is None:
            assert want is None or want.dtype == jax.dtypes.float0
        else:
            np.testing.assert_allclose(have, want, rtol=1e-11, atol=1e-13)

    jax.tree.map(compare, expected, got, is_leaf=lambda leaf: leaf is None)


@each_loss
def test_every_reduction(loss):
    predictions, targets = args = loss.args((3, 5))
    values = {reduction: loss(reduction).fwd(*args)[0] for reduction in REDUCTIONS}
    terms = np.asarray(values["none"])
    assert terms.shape[:2] == (3, 5)
    assert float(values["sum"]) == pytest.approx(terms.sum(), rel=1e-13)
    assert float(values["mean"]) == pytest.approx(terms.mean(), rel=1e-13)
    for reduction in REDUCTIONS:
        assert_backward_is_vjp(loss(reduction), predictions, targets)


@each_loss
def test_every_reduction_with_weights(loss):
    predictions, (targets, weights) = with_weights(loss.args)((3, 5))
    terms = np.asarray(loss("none").fwd(predictions, targets)[0])
    weight_of_term = np.broadcast_to(weights.reshape(3, 5, *[1] * (terms.ndim - 2)), terms.shape)
    for reduction, expected in {
        "mean": np.average(terms, weights=weight_of_term),
        "sum_over_batch_size": (terms * weight_of_term).mean(),
        "sum": (terms * weight_of_term).sum(),
        "none": terms * weight_of_term,
    }.items():
        rule = ops.weighted(loss("none"), reduction)
        np.testing.assert_allclose(rule.fwd(predictions, (targets, weights))[0], expected, rtol=1e-13)
        assert_backward_is_vjp(rule, predictions, (targets, weights))


@pytest.mark.parametrize(
    ("rule", "predictions", "targets"),
    [
        (ops.mean_squared_error(), (3, 5), (3,)),
        (ops.mean_absolute_error(), (3, 5), (3,)),
        (ops.huber(), (3, 5), (3, 1)),
        (ops.softmax_cross_entropy(), (3, 5), (3, 4)),
        (ops.sigmoid_binary_cross_entropy(), (3, 1), (3,)),
        (ops.sparse_softmax_cross_entropy(), (3, 5), (3, 5)),
        (ops.sparse_softmax_cross_entropy(), (3, 5), (3,)),  # labels must be integers
        (ops.binary_cross_entropy(), (3, 1), (3,)),
        (ops.categorical_cross_entropy(), (3, 5), (3,)),
        (ops.sparse_categorical_cross_entropy(), (3, 5), (3,)),
        (ops.kl_divergence(), (3, 5), (5,)),
        (ops.squared_hinge(), (3, 5), (3,)),
        (ops.contrastive(), ((3, 5), (3, 4)), (3,)),
        (ops.contrastive(), ((3, 5), (3, 5)), (3, 1)),
        (ops.triplet(), ((3, 5), (3, 5), (5,)), None),
    ],
)
def test_shapes_that_do_not_fit(rule, predictions, targets):
    zeros = jax.tree.map(jnp.zeros, (predictions, targets), is_leaf=lambda s: isinstance(s, tuple) and s[0] in (3, 5))
    with pytest.raises(ShapeError, match=r"expects .* got .*\(3"):
        rule.fwd(*zeros)


@each_loss
def test_unknown_reduction(loss):
    with pytest.raises(ValueError, match="'mean', 'sum' or 'none'; got 'average'"):
        loss("average")


@pytest.mark.parametrize("factory", [ops.huber, ops.contrastive, ops.triplet])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_distance_is_positive(factory, value):
    with pytest.raises(ValueError, match=f"(delta|margin) must be positive and finite; got {value}"):
        factory(value)


def test_agrees_with_pytorch():
    """Value and gradient. PyTorch takes log-probabilities, funcnet probabilities."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    theirs = {
        "mean_squared_error": f.mse_loss,
        "mean_absolute_error": f.l1_loss,
        "huber": lambda p, t: f.huber_loss(p, t, delta=0.7),
        "binary_cross_entropy": f.binary_cross_entropy,
        "sigmoid_binary_cross_entropy": f.binary_cross_entropy_with_logits,
        "categorical_cross_entropy": lambda p, t: -(t * p.log()).sum(-1).mean(),
        "sparse_categorical_cross_entropy": lambda p, t: f.nll_loss(p.log(), t),
        "sparse_softmax_cross_entropy": lambda p, t: f.cross_entropy(p, t, label_smoothing=0.1),
        "kl_divergence": lambda p, t: f.kl_div(p.log(), t, reduction="batchmean"),
        "triplet": lambda p, t: f.triplet_margin_with_distance_loss(
            *p, distance_function=lambda a, b: ((a - b) ** 2).sum(-1), margin=2.0
        ),
    }
    for loss in LOSSES:
        if (name := loss.factory.__name__) in theirs:
            predictions, targets = loss.args((11,))
            y, residuals = loss("mean").fwd(predictions, targets)
            dp = loss("mean").bwd(residuals, jnp.ones(()))[0]
            tensors = jax.tree.map(lambda p: torch.tensor(p, requires_grad=True), predictions)
            value = theirs[name](tensors, targets if targets is None else torch.tensor(targets))
            value.backward()
            assert float(y) == pytest.approx(value.item(), rel=1e-12), name
            for got, tensor in zip(jax.tree.leaves(dp), jax.tree.leaves(tensors), strict=True):
                np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-10, atol=1e-14, err_msg=name)
