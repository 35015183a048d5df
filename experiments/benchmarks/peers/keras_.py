"""Keras on JAX: ``fit`` on arrays, which compiles its own step; the order of the examples is its own."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

from .work import Peer, Work, parametric


def prepare(work: Work) -> Peer:
    model, made = _model(work)
    for part, ours in zip(made, parametric(work.params), strict=True):
        if "gamma" in ours:
            part.set_weights([ours["gamma"], ours["beta"], *part.get_weights()[2:]])
        else:
            part.set_weights([ours["w"], *([ours["b"]] if "b" in ours else [])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(work.rate, work.decay) if work.decay else work.rate
    model.compile(optimizer=keras.optimizers.SGD(rate), loss=loss)

    def epoch(order: np.ndarray) -> None:
        rows = order.ravel()
        model.fit(work.x[rows], work.labels[rows], batch_size=order.shape[1], epochs=1, shuffle=False, verbose=0)

    return Peer(epoch, lambda x: np.asarray(model(x, training=True)))


def _model(work: Work) -> tuple[keras.Model, list[layers.Layer]]:
    """The model, and its layers with weights in the order of ours."""
    inputs = x = keras.Input(work.shape)
    made: list[layers.Layer] = []

    def keep(layer):
        made.append(layer)
        return layer

    def normalised(x, features, size, stride):
        x = keep(layers.Conv2D(features, size, stride, padding="same", use_bias=False))(x)
        return keep(layers.BatchNormalization(epsilon=1e-5))(x)

    def block(x, features, stride):
        short = x if x.shape[-1] == features else normalised(x, features, 1, stride)
        f = normalised(layers.ReLU()(normalised(x, features, 3, stride)), features, 3, 1)
        return layers.ReLU()(layers.Add()([short, f]))

    if len(work.shape) == 1:
        for units in work.units[:-1]:
            x = keep(layers.Dense(units, activation="relu"))(x)
    elif any("gamma" in layer for layer in parametric(work.params)):
        x = layers.ReLU()(normalised(x, 16, 3, 1))
        for features, stride in ((16, 1), (32, 2), (64, 2)):
            x = block(x, features, stride)
        x = layers.GlobalAveragePooling2D()(x)
    else:
        for channels in (6, 16):
            x = layers.ReLU()(layers.MaxPooling2D()(keep(layers.Conv2D(channels, 5))(x)))
        x = layers.Flatten()(x)
        for units in (120, 84):
            x = keep(layers.Dense(units, activation="relu"))(x)
    return keras.Model(inputs, keep(layers.Dense(10))(x)), made
