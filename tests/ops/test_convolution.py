"""Convolution and its transpose beside PyTorch's, beside each other, and on values known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal

# stride, padding of rows and columns, dilation, groups, bias
SETTINGS = [
    ((1, 1), ((0, 0), (0, 0)), (1, 1), 1, True),
    ((2, 1), ((1, 1), (2, 2)), (1, 2), 1, False),
    ((3, 2), ((2, 2), (1, 1)), (2, 1), 2, True),
    ((1, 2), ((1, 1), (1, 1)), (1, 1), 4, True),
]


def torch_pulled(function, arrays, seed):
    """y and the gradients of arrays, from PyTorch, for a cotangent that is drawn."""
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    y = function(*leaves)
    y.backward(torch.tensor(normal(seed, *y.shape)))
    return y.detach().numpy(), [leaf.grad.numpy() for leaf in leaves]


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups", "bias"), SETTINGS)
def test_agrees_with_torch(name, stride, padding, dilation, groups, bias):
    torch = pytest.importorskip("torch")
    rule = getattr(ops, name)(stride, padding, dilation, groups)
    args = [normal(0, 3, 9, 7, 4), normal(1, 3, 2, 4 // groups, 8), *([normal(2, 8)] if bias else [])]

    def theirs(x, w, b=None):
        # (N, C, H, W); kernels (O, I, R, S), and transposed ones (C, O/groups, R, S), by group
        x = x.permute(0, 3, 1, 2)
        kernel, settings = w.permute(3, 2, 0, 1), {"stride": stride, "dilation": dilation, "groups": groups}
        settings["padding"] = tuple(low for low, _ in padding)
        if name == "conv2d_transpose":
            kernel = w.reshape(3, 2, 4 // groups, groups, -1).permute(3, 2, 4, 0, 1).reshape(4, -1, 3, 2)
            return torch.nn.functional.conv_transpose2d(x, kernel, b, **settings).permute(0, 2, 3, 1)
        return torch.nn.functional.conv2d(x, kernel, b, **settings).permute(0, 2, 3, 1)

    y, gradients = torch_pulled(theirs, args, 3)
    own, residuals = rule.fwd(*map(jnp.asarray, args))
    np.testing.assert_allclose(own, y, rtol=1e-10, atol=1e-10)
    cotangents = rule.bwd(residuals, jnp.asarray(normal(3, *y.shape)))
    assert (cotangents[2] is None) == (not bias)
    for cotangent, gradient in zip(cotangents, gradients, strict=False):
        np.testing.assert_allclose(cotangent, gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("padding", "stride", "dilation"),
    [("SAME", 2, 1), ("SAME", (3, 1), 1), ("SAME", 1, 2), ("VALID", (2, 3), 1), (((2, 1), (0, 1)), 2, (2, 1))],
)
def test_the_transposed_convolution_is_the_input_gradient_of_the_convolution(padding, stride, dilation):
    settings = {"padding": padding, "stride": stride, "dilation": dilation, "groups": 2}
    x, w = jnp.asarray(normal(0, 3, 4, 5, 6)), jnp.asarray(normal(1, 3, 2, 3, 8))
    y, _ = ops.conv2d_transpose(**settings).fwd(x, w)
    exchanged = w.reshape(3, 2, 3, 2, 4).swapaxes(2, 4).reshape(3, 2, 4, 6)
    convolved, residuals = ops.conv2d(**settings).fwd(jnp.asarray(normal(2, *y.shape)), exchanged)
    assert convolved.shape == x.shape
    dx, *_ = ops.conv2d(**settings).bwd(residuals, x)
    np.testing.assert_allclose(y, dx, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3])
def test_same_pads_as_xla_does(size, stride, kernel):
    """XLA's own convolution has the same output, so the odd row of padding stands on the same side."""
    x, w = jnp.asarray(normal(0, 2, size, size, 3)), jnp.asarray(normal(1, kernel, kernel, 3, 2))
    y, _ = ops.conv2d(stride).fwd(x, w)
    layout = ("NHWC", "HWIO", "NHWC")
    theirs = jax.lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=layout)
    np.testing.assert_allclose(y, theirs, rtol=1e-12, atol=1e-12)


def test_a_kernel_is_not_flipped():
    y, _ = ops.conv2d(padding="VALID").fwd(
        jnp.array([1.0, 2, 4]).reshape(1, 1, 3, 1), jnp.array([1.0, 10]).reshape(1, 2, 1, 1)
    )
    assert y.ravel().tolist() == [21, 42]
    y, _ = ops.conv2d_transpose(2, "VALID").fwd(
        jnp.array([1.0, 2]).reshape(1, 1, 2, 1), jnp.array([1.0, 10, 100]).reshape(1, 3, 1, 1)
    )
    assert y.ravel().tolist() == [1, 10, 102, 20, 200]


def test_long_sums_keep_their_digits_in_float16():
    """4096 products of 1: in float16 a running sum of ones stops at 2048."""
    ones = jnp.ones((1, 1, 1, 4096), jnp.float16)
    y, residuals = ops.conv2d().fwd(ones, jnp.ones((1, 1, 4096, 1), jnp.float16))
    assert y.dtype == jnp.float16
    assert float(y.item()) == 4096
    assert all(d.dtype == jnp.float16 for d in ops.conv2d().bwd(residuals, y)[:2])


@pytest.mark.parametrize("make", [ops.conv2d, ops.conv2d_transpose])
@pytest.mark.parametrize(
    "settings",
    [{"stride": 0}, {"stride": (1, 2, 3)}, {"dilation": 1.5}, {"groups": 0}, {"padding": "same"}, {"padding": 1},
     {"padding": ((0, -1), (0, 0))}],
    ids=str,
)  # fmt: skip
def test_settings_that_are_none(make, settings):
    with pytest.raises(ValueError, match=rf"{make.__name__}'s {next(iter(settings))} is .*; got"):
        make(**settings)


@pytest.mark.parametrize("make", [ops.conv2d, ops.conv2d_transpose])
@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 5, 4), (3, 3, 2, 6)),
        ((1, 5, 5, 3), (3, 3, 2, 6)),
        ((1, 5, 5, 4), (3, 3, 2, 5)),
        ((1, 5, 5, 4), (3, 3, 2, 6), (5,)),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(make, shapes):
    with pytest.raises(
        ShapeError, match=rf"{make.__name__} got x .*, w .*, (no )?b.*groups=2 it wants x \(N, H, W, C\)"
    ):
        make(groups=2).fwd(*(jnp.ones(shape) for shape in shapes))


def test_a_window_that_does_not_fit_in_the_image():
    with pytest.raises(
        ShapeError, match=r"conv2d got an image of \(5, 4\) and a window of \(3, 3\), dilation \(2, 2\)"
    ):
        ops.conv2d(padding="VALID", dilation=2).fwd(jnp.ones((1, 5, 4, 1)), jnp.ones((3, 3, 1, 1)))
