"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import initializers
from ..combinators import serial
from ..layers import dense, dropout, flatten, relu
from ..types import Layer


def mlp(
    hidden: Sequence[int], outputs: int, *, activation: Callable[[], Layer] = relu, dropout_rate: float = 0.0
) -> Layer:
    """flatten, then for each of ``hidden``: dense, activation, dropout; then dense to ``outputs`` logits.

    Takes inputs of any shape (N, ...). Hidden weights are He-normal, those of the last layer LeCun-normal: no relu
    follows it. Without dropout the dropout layers are left out.
    """
    layers = [flatten()]
    for features in hidden:
        layers += [dense(features, w_init=initializers.he_normal()), activation()]
        if dropout_rate:
            layers.append(dropout(dropout_rate))
    return serial(*layers, dense(outputs))
