"""Convolution and its transpose against each other, against XLA's, and on values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close


@pytest.mark.parametrize(
    ("padding", "stride", "dilation"), [("SAME", (3, 2), 1), ("SAME", 1, 2), (((2, 1), (0, 1)), 2, (2, 1))]
)
def test_the_transposed_convolution_is_the_input_gradient_of_the_convolution(padding, stride, dilation):
    settings = {"padding": padding, "stride": stride, "dilation": dilation, "groups": 2}
    rule = ops.conv2d(**settings)
    x, w = normal(0, 3, 4, 5, 6), normal(1, 3, 2, 3, 8)
    exchanged = w.reshape(3, 2, 3, 2, 4).swapaxes(2, 4).reshape(3, 2, 4, 6)

    @jax.jit
    def both(x, w, exchanged):
        y, _ = ops.conv2d_transpose(**settings).fwd(x, w)
        convolved, residuals = rule.fwd(y, exchanged)
        assert convolved.shape == x.shape
        return y, rule.bwd(residuals, x)[0]

    y, dx = both(x, w, exchanged)
    np.testing.assert_allclose(y, dx, rtol=1e-13, atol=1e-13)


MOVES = [(1, "SAME", 1), ((3, 2), "SAME", 1), (1, ((5, 0), (1, 3)), (1, 2)), ((1, 2), ((2, 1), (0, 4)), (2, 1))]


@pytest.mark.parametrize("channels", [(1, 3), (3, 2), (8, 9), (9, 2)])
def test_every_formulation_is_xla_s_convolution_and_its_gradient(channels):
    """The formulation depends on the channels and the stride; "SAME" puts the odd row of padding on the same side."""
    x, w = normal(0, 2, 7, 6, channels[0]), normal(1, 3, 2, *channels)

    @jax.jit
    def both(x, w):
        pairs = []
        for stride, padding, dilation in MOVES:
            rule = ops.conv2d(stride, padding, dilation)
            y, residuals = rule.fwd(x, w)
            dy = jnp.cos(7 * y)

            def plain(x, w, stride=stride, padding=padding, dilation=dilation):
                strides, dilations = (np.broadcast_to(v, 2).tolist() for v in (stride, dilation))
                layout = ("NHWC", "HWIO", "NHWC")
                return jax.lax.conv_general_dilated(
                    x, w, strides, padding, rhs_dilation=dilations, dimension_numbers=layout
                )

            expected, pull = jax.vjp(plain, x, w)
            pairs.append(((y, *rule.bwd(residuals, dy)[:2]), (expected, *pull(dy))))
        return pairs

    for own, theirs in both(x, w):
        assert_close(own, theirs, 1e-12, 1e-12)


def test_a_kernel_is_not_flipped():
    fwd = jax.jit(lambda x, w: ops.conv2d(padding="VALID").fwd(x, w)[0])
    y = fwd(np.array([1.0, 2, 4]).reshape(1, 1, 3, 1), np.array([1.0, 10]).reshape(1, 2, 1, 1))
    assert y.ravel().tolist() == [21, 42]
    transposed = jax.jit(lambda x, w: ops.conv2d_transpose(2, "VALID").fwd(x, w)[0])
    y = transposed(np.array([1.0, 2]).reshape(1, 1, 2, 1), np.array([1.0, 10, 100]).reshape(1, 3, 1, 1))
    assert y.ravel().tolist() == [1, 10, 102, 20, 200]


def test_long_sums_keep_their_digits_in_float16():
    """4096 products of 1: in float16 a running sum of ones stops at 2048."""
    rule = ops.conv2d()
    x, w = np.ones((1, 1, 1, 4096), np.float16), np.ones((1, 1, 4096, 1), np.float16)
    y, residuals = jax.jit(rule.fwd)(x, w)
    assert y.dtype == jnp.float16
    assert float(y.item()) == 4096
    assert all(d.dtype == jnp.float16 for d in jax.eval_shape(rule.bwd, residuals, y)[:2])


@pytest.mark.parametrize("make", [ops.conv2d, ops.conv2d_transpose])
def test_an_empty_batch(make):
    x, w = jax.ShapeDtypeStruct((0, 3, 5, 4), float), jax.ShapeDtypeStruct((2, 3, 2, 6), float)
    y, residuals = jax.eval_shape(make(groups=2).fwd, x, w)
    assert y.shape == (0, 3, 5, 6)
    assert jax.eval_shape(make(groups=2).bwd, residuals, y) == (x, w, None)


@pytest.mark.parametrize("make", [ops.conv2d, ops.conv2d_transpose])
@pytest.mark.parametrize(
    "settings",
    [{"stride": 0}, {"stride": (1, 2, 3)}, {"dilation": 1.5}, {"groups": 0}, {"groups": (2, 3)}, {"padding": "same"},
     {"padding": 1}, {"padding": ((0, -1), (0, 0))}],
    ids=str,
)  # fmt: skip
def test_invalid_settings(make, settings):
    with pytest.raises(ValueError, match=rf"{make.__name__}'s {next(iter(settings))} must be .*; got"):
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
        ShapeError, match=rf"{make.__name__} got x .*, w .*, (no )?b.*groups=2 it expects x \(N, H, W, C\)"
    ):
        make(groups=2).fwd(*(jnp.ones(shape) for shape in shapes))


def test_a_window_that_does_not_fit_in_the_image():
    with pytest.raises(
        ShapeError, match=r"conv2d got an image of \(5, 4\) and a window of \(3, 3\), dilation \(2, 2\)"
    ):
        ops.conv2d(padding="VALID", dilation=2).fwd(jnp.ones((1, 5, 4, 1)), jnp.ones((3, 3, 1, 1)))
