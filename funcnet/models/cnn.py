"""Convolutional networks: compositions of layers, for images (H, W, C)."""

from collections.abc import Sequence

from .. import initializers
from ..layers.activations import relu
from ..layers.combinators import parallel, residual, serial
from ..layers.convolution import conv2d
from ..layers.dropout import dropout
from ..layers.linear import dense
from ..layers.normalization import batch_norm
from ..layers.pooling import global_average_pool, max_pool
from ..layers.shapes import flatten
from ..ops.windows import Padding, Pair
from ..types import Layer

HE = initializers.he_normal()  # before a relu


def lenet(
    classes: int = 10,
    *,
    channels: Sequence[int] = (6, 16),
    hidden: Sequence[int] = (120, 84),
    kernel_size: Pair = 5,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dropout_rate: float = 0.0,
) -> Layer:
    """For each of ``channels`` conv2d, max_pool, relu; for each of ``hidden`` dense, relu, dropout; dense to logits.

    The defaults give LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, section II.B) with today's usual changes: relu, max
    pooling, full connections between maps. relu stands after the maximum, which it commutes with, as there it has a
    quarter of the work. At rate 0 there are no dropout layers.
    """
    layers: list[Layer] = []
    for features in channels:
        layers += [conv2d(features, kernel_size, stride, padding, w_init=HE), max_pool(), relu()]
    layers.append(flatten())
    for features in hidden:
        layers += [dense(features, HE), relu(), *([dropout(dropout_rate)] if dropout_rate else [])]
    return serial(*layers, dense(classes))


def resnet(classes: int = 10, *, stages: Sequence[int] = (16, 32, 64), blocks: int = 3) -> Layer:
    """3x3 convolutions with short cuts (He, Zhang, Ren & Sun 2016, section 4.2): 6·blocks + 2 layers in three stages.

    A convolution to the first of ``stages``, then ``blocks`` residual blocks of as many channels as each says; from
    one stage to the next the image is halved. All is batch-normalised: see ``calibrate``. At the end stands the mean
    of every channel, and a dense map to the logits. Raises ValueError without a block or a stage.
    """
    if blocks < 1 or min(stages, default=0) < 1:
        raise ValueError(f"resnet expects at least one block and stages of channels; got {blocks} and {tuple(stages)}")
    layers = [*_normalised(stages[0], 3, 1), relu()]
    before = stages[0]
    for features in stages:
        for block in range(blocks):
            layers += [_block(before, features, 1 if block or features == before else 2), relu()]
            before = features
    return serial(*layers, global_average_pool(), dense(classes))


def _block(before: int, features: int, stride: int) -> Layer:
    """x + f(x). If f changes the shape, a 1x1 convolution of x replaces x: the paper's option B."""
    f = serial(*_normalised(features, 3, stride), relu(), *_normalised(features, 3, 1))
    return residual(f) if before == features else parallel(serial(*_normalised(features, 1, stride)), f)


def _normalised(features: int, kernel_size: int, stride: int) -> list[Layer]:
    """Without a bias: the normalisation would take it away."""
    return [conv2d(features, kernel_size, stride, bias=False, w_init=HE), batch_norm()]
