"""The multilayer perceptron."""

from collections.abc import Callable, Sequence

from .. import initializers
from ..layers.activations import relu
from ..layers.combinators import serial
from ..layers.dropout import dropout
from ..layers.linear import dense
from ..layers.normalization import batch_norm
from ..layers.shapes import flatten
from ..types import Initializer, Layer


def mlp(
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: Callable[[], Layer] = relu,
    dropout_rate: float = 0.0,
    normalised: bool = False,
    w_init: Initializer | None = None,
) -> Layer:
    """flatten, then for each of ``hidden``: dense, batch_norm, activation, dropout; then dense to ``outputs`` logits.

    Takes inputs of any shape (N, ...). Without dropout the dropout layers are left out, and the batch_norms unless
    ``normalised``. Weights are drawn by ``w_init``; without it those of hidden layers are He-normal, and those of the
    last, which no relu follows, LeCun-normal.
    """
    layers = [flatten()]
    for features in hidden:
        layers.append(dense(features, w_init or initializers.he_normal()))
        layers += [batch_norm(), activation()] if normalised else [activation()]
        layers += [dropout(dropout_rate)] if dropout_rate else []
    return serial(*layers, dense(outputs, w_init or initializers.lecun_normal()))
