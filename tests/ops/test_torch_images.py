"""Forward and every gradient of convolution, pooling and batch normalisation against PyTorch's, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import ops
from funcnet.ops.normalization import Population
from tests.cases import normal

# stride, padding of rows and columns, dilation, groups, bias
SETTINGS = [
    ((1, 1), (0, 0), (1, 1), 1, True),
    ((2, 1), (1, 2), (1, 2), 1, False),
    ((3, 2), (2, 1), (2, 1), 2, True),
    ((1, 2), (1, 1), (1, 1), 4, True),
]


def first(x):
    """(N, H, W, C) to PyTorch's (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def last(x):
    return x.permute(0, 2, 3, 1)


def assert_same(fwd, bwd, args, theirs):
    """``theirs`` on the same numbers: the output, and the gradient of every argument, for a random cotangent."""
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(arg, requires_grad=True) for arg in args]
    expected = theirs(torch.nn, *leaves)
    dy = normal(9, *expected.shape)
    expected.backward(torch.tensor(dy))

    @jax.jit
    def own(args, dy):
        y, residuals = fwd(*args)
        return y, bwd(residuals, dy)

    y, cotangents = own(tuple(map(jnp.asarray, args)), jnp.asarray(dy))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    assert len(cotangents) >= len(leaves)  # None if an argument is not differentiated
    for cotangent, leaf in zip(cotangents, leaves, strict=False):
        np.testing.assert_allclose(cotangent, leaf.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups", "bias"), SETTINGS)
def test_convolution(name, stride, padding, dilation, groups, bias):
    rule = getattr(ops, name)(stride, tuple((side, side) for side in padding), dilation, groups)
    args = (normal(0, 2, 7, 5, 4), normal(1, 3, 2, 4 // groups, 8), *([normal(2, 8)] if bias else []))
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def theirs(nn, x, w, b=None):
        if name == "conv2d":  # kernels (O, I, R, S)
            return last(nn.functional.conv2d(first(x), w.permute(3, 2, 0, 1), b, **settings))
        # transposed ones (C, O/groups, R, S), by group
        kernel = w.reshape(3, 2, 4 // groups, groups, -1).permute(3, 2, 4, 0, 1).reshape(4, -1, 3, 2)
        return last(nn.functional.conv_transpose2d(first(x), kernel, b, **settings))

    assert_same(rule.fwd, rule.bwd, args, theirs)


@pytest.mark.parametrize("ties", [False, True], ids=["all differ", "ties"])
@pytest.mark.parametrize(("window", "stride", "pad"), [(2, None, 0), ((3, 2), 1, 1), (3, (2, 3), 1)])
def test_pooling(window, stride, pad, ties):
    x = normal(0, 2, 7, 8, 3)
    x = np.round(x) if ties else x
    padding = ((pad, pad), (pad, pad))
    for rule, theirs in (
        (ops.max_pool(window, stride, padding), lambda nn, x: nn.MaxPool2d(window, stride, pad)(first(x))),
        (
            ops.average_pool(window, stride, padding),
            lambda nn, x: nn.AvgPool2d(window, stride, pad, count_include_pad=False)(first(x)),
        ),
    ):
        assert_same(rule.fwd, rule.bwd, (x,), lambda nn, x, theirs=theirs: last(theirs(nn, x)))


def test_global_average_pool():
    rule = ops.global_average_pool
    assert_same(
        rule.fwd, rule.bwd, (normal(0, 2, 5, 3, 4),), lambda nn, x: nn.AdaptiveAvgPool2d(1)(first(x))[:, :, 0, 0]
    )


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training):
    torch = pytest.importorskip("torch")
    layer = funcnet.batch_norm(1e-3)
    population = Population(normal(3, 4), normal(4, 4) ** 2 + 0.5)
    args = (2 * normal(0, 3, 2, 5, 4) + 1, normal(1, 4), normal(2, 4))
    theirs = torch.nn.BatchNorm2d(4, 1e-3, dtype=torch.float64).train(training)
    theirs.running_mean, theirs.running_var = (torch.tensor(leaf) for leaf in population)

    def fwd(x, gamma, beta):
        params = {"gamma": gamma, "beta": beta, "population": population}
        return layer.fwd(params, x, jax.random.key(0) if training else None)

    def bwd(residuals, dy):
        dparams, dx = layer.bwd(residuals, dy)
        return dx, dparams["gamma"], dparams["beta"]

    def apply(nn, x, gamma, beta):
        return last(torch.func.functional_call(theirs, {"weight": gamma, "bias": beta}, (first(x),)))

    assert_same(fwd, bwd, args, apply)
    if training:  # PyTorch's running statistics move a tenth of the way to this batch's estimate
        found = fwd(*map(jnp.asarray, args))[1].population
        for running, before, own in zip((theirs.running_mean, theirs.running_var), population, found, strict=True):
            np.testing.assert_allclose(running.numpy(), 0.9 * before + 0.1 * own, rtol=1e-10)
