"""Nielsen's book: the published MNIST accuracies.

Two networks of "Neural Networks and Deep Learning" (Michael Nielsen, 2015), which note 004 follows, as he trained them,
on the first 50,000 images: of chapter 1 with the quadratic cost, of chapter 3 with the cross-entropy and weight decay.
Prints the test accuracy of the best of 30 epochs, which is what he reports, mean and spread over the seeds, and that of
the last; writes metrics.json and nielsen.png: the learning curves with the published figures.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import data, initializers, ops, optimizers

from . import harness
from .pictures import curves

OUTPUTS, TRAINED_ON = 10, 50_000  # the other 10,000 he keeps for validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """All else is the book's."""

    seeds: int = 3
    """How many seeds: of the initial weights and the order of the images."""
    epochs: int = 30
    """How many times the 50,000 images are gone through."""
    batch_size: int = 10
    """Images to a step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        if self.batch_size > 1000:
            raise harness.InputError(f"--batch-size is at most 1000; got {self.batch_size}")


def scaled(factor: float, rule: funcnet.Rule) -> funcnet.Rule:
    """y = factor · rule(…), so dx = the rule's dx for factor · dy."""

    def fwd(*args):
        y, residuals = rule.fwd(*args)
        return factor * y, residuals

    return funcnet.Rule(fwd, lambda residuals, dy: rule.bwd(residuals, factor * dy))


# The book averages its costs over the examples and sums them over the outputs; the losses here average over both.
QUADRATIC = scaled(OUTPUTS / 2, ops.mean_squared_error())  # C = 1/(2n) Σ_x ‖y(x) − a‖²
CROSS_ENTROPY = scaled(OUTPUTS, ops.sigmoid_binary_cross_entropy())  # C = −1/n Σ_x Σ_j y ln a + (1 − y) ln(1 − a)


class Chapter(NamedTuple):
    """A network of the book, how it is trained, and what is published of it."""

    title: str
    net: funcnet.Layer
    loss: funcnet.Rule
    optimizer: funcnet.Optimizer
    published: float


UNIT, FAN_IN = initializers.normal(1.0), initializers.lecun_normal()  # N(0, 1), and N(0, 1) / √fan_in
CHAPTERS = {
    "chapter_1": Chapter(
        "chapter 1: 784-30-10, quadratic cost, η = 3",
        funcnet.serial(
            funcnet.flatten(),
            funcnet.dense(30, UNIT, UNIT),
            funcnet.sigmoid(),
            funcnet.dense(OUTPUTS, UNIT, UNIT),
            funcnet.sigmoid(),
        ),
        QUADRATIC,
        optimizers.sgd(3.0),
        0.9542,
    ),
    "chapter_3": Chapter(
        "chapter 3: 784-100-10, cross-entropy, η = 0.5, λ = 5",
        funcnet.serial(  # the last sigmoid is in the loss
            funcnet.flatten(), funcnet.dense(100, FAN_IN, UNIT), funcnet.sigmoid(), funcnet.dense(OUTPUTS, FAN_IN, UNIT)
        ),
        CROSS_ENTROPY,
        # w ← (1 − ηλ/n) w − η ∂C/∂w; biases do not decay
        optimizers.chain(optimizers.add_decayed_weights(5.0 / TRAINED_ON), optimizers.sgd(0.5)),
        0.9792,
    ),
}


def accuracy(outputs, targets):
    """``targets`` are one-hot."""
    return funcnet.accuracy(outputs, targets.argmax(axis=-1))
