"""Convolutional networks: what they are made of. Their backward is proven with that of all layers, in test_layers."""

import jax
import numpy as np
import pytest

import funcnet
from funcnet.models import lenet, resnet
from funcnet.ops.normalization import Population
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import draw


def made(net, in_shape):
    """Parameters and output shape, without computing any: all that is drawn."""
    shapes = []

    def init(key):
        params, out_shape = net.init(key, in_shape)
        shapes.append(out_shape)
        return params

    return jax.eval_shape(init, jax.random.key(0)), shapes[0]


def trained(params):
    """How many numbers are trained: all but the statistics of the population."""
    is_population = lambda node: isinstance(node, Population)  # noqa: E731
    leaves = jax.tree.leaves(params, is_leaf=is_population)
    return sum(leaf.size for leaf in leaves if not is_population(leaf))


def test_lenet_5_has_the_parameters_that_are_known():
    """By hand: 6·26 + 16·(6·25 + 1) of the convolutions, 120·401 + 84·121 + 10·85 of the dense layers."""
    params, out_shape = made(lenet(), (32, 32, 1))
    assert out_shape == (10,)
    assert trained(params) == 61_706


@pytest.mark.parametrize(("blocks", "known"), [(3, 272_474), (9, 855_770)])
def test_resnets_have_the_parameters_that_are_known(blocks, known):
    """He et al. (2016), table 6, have 0.27 and 0.85 million for 20 and 56 layers, by short cuts without weights."""
    params, out_shape = made(resnet(blocks=blocks), (32, 32, 3))
    assert out_shape == (10,)
    assert trained(params) == known


def test_the_layers_of_lenet_in_their_order():
    net = lenet(5, channels=(2, 3), hidden=(7,), dropout_rate=0.3)
    assert [part.name for part in net.parts] == [
        *("conv2d(2)", "max_pool(2)", "relu", "conv2d(3)", "max_pool(2)", "relu"),
        *("flatten", "dense(7)", "relu", "dropout(0.3)", "dense(5)"),
    ]


def test_a_calibrated_resnet_says_in_inference_what_it_says_of_the_batch_in_training():
    """So each population is at its own place. They differ by m/(m − 1), with m = 240 at the end, in six layers."""
    net, key = resnet(3, stages=(2, 3), blocks=1), jax.random.key(0)
    params = draw(1, made(net, (2, 3, 1))[0])
    x = normal(0, 120, 2, 3, 1)

    @jax.jit
    def both(params, x):
        return net.fwd(funcnet.calibrate(net, params, x[None], key), x)[0], net.fwd(params, x, key)[0]

    inference, training = both(params, x)
    assert np.abs(inference - training).max() < 0.2 * training.std()  # 13.7 if not calibrated


@pytest.mark.parametrize("settings", [{"blocks": 0}, {"stages": ()}, {"stages": (4, 0)}], ids=str)
def test_a_resnet_without_layers(settings):
    with pytest.raises(ValueError, match="at least one block and stages of channels; got"):
        resnet(**settings)


def test_an_image_that_is_too_small():
    with pytest.raises(ShapeError, match=r"serial\[3\] > conv2d got an image of \(4, 4\) and a window of \(5, 5\)"):
        made(lenet(), (12, 12, 1))
