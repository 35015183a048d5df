"""Nielsen's book: the published MNIST accuracies.

Two networks of "Neural Networks and Deep Learning" (Michael Nielsen, 2015), the book that note 004 follows, trained on
the first 50,000 images: chapter 1's with the quadratic cost, chapter 3's with the cross-entropy and weight decay.
Prints the test accuracy of the best of 30 epochs, which is what chapter 1 gives, and of the last, mean and spread over
the seeds; writes metrics.json and nielsen.png: the learning curves with the published figures.

Chapter 3's figure was published before the chapter comes to better initial weights, which are taken here, and it was
measured on the 10,000 images that the book keeps for validation; here, on the test set.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import data, initializers, ops, optimizers

from . import harness, rundir
from .pictures import curves

OUTPUTS, TRAINED_ON = 10, 50_000


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


def scaled(factor: float, loss: funcnet.Rule) -> funcnet.Rule:
    """C = factor · L, so its gradient is L's for factor · dy."""

    def fwd(predictions: Float[Array, "*B K"], targets: Float[Array, "*B K"]):
        value, residuals = loss.fwd(predictions, targets)
        return factor * value, residuals

    return funcnet.Rule(fwd, lambda residuals, dy: loss.bwd(residuals, factor * dy))


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
        "chapter 1: 784-30-10, quadratic cost",
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
        "chapter 3: 784-100-10, cross-entropy",
        funcnet.serial(  # the last sigmoid is in the loss
            funcnet.flatten(), funcnet.dense(100, FAN_IN, UNIT), funcnet.sigmoid(), funcnet.dense(OUTPUTS, FAN_IN, UNIT)
        ),
        CROSS_ENTROPY,
        # w ← (1 − ηλ/n) w − η ∂C₀/∂w, and biases do not decay
        optimizers.chain(optimizers.add_decayed_weights(5.0 / TRAINED_ON), optimizers.sgd(0.5)),
        0.9792,
    ),
}


def accuracy(outputs, targets):
    """``targets`` are one-hot."""
    return funcnet.accuracy(outputs, targets.argmax(axis=-1))


def train(
    chapter: Chapter, config: Config, dataset: data.Dataset, seed: int, checkpoints: Path | None = None
) -> list[float]:
    """The test accuracy after each epoch."""
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    shape = dataset.x_train.shape[1:]
    harness.require_room(chapter.net, shape, chapter.optimizer, batch_size=config.batch_size)
    params, _ = chapter.net.init(init_key, shape)
    fit = funcnet.fit(
        chapter.net,
        chapter.loss,
        chapter.optimizer,
        params,
        (dataset.x_train, one_hot(dataset.y_train)),
        (dataset.x_test, one_hot(dataset.y_test)),
        key=fit_key,
        epochs=config.epochs,
        batch_size=config.batch_size,
        metrics={"accuracy": accuracy},
        checkpoints=checkpoints,
    )
    return [row["validation_accuracy"] for row in fit.history]


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(OUTPUTS, dtype=np.float32)[labels]


def main(config: Config, out: Path) -> None:
    dataset = data.mnist(config.data_dir)
    examples = 5_000 if config.quick else TRAINED_ON
    dataset = dataset._replace(x_train=dataset.x_train[:examples], y_train=dataset.y_train[:examples])
    if config.quick:
        config = dataclasses.replace(config, epochs=min(config.epochs, 2), seeds=1)

    def run_one(seed: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, chapter in CHAPTERS.items():
            curve = train(chapter, config, dataset, seed, rundir.checkpoints(out, f"seed_{seed}_{name}"))
            print(f"seed {seed}, {chapter.title}: best {max(curve):.4f}, last {curve[-1]:.4f}")
            result |= {f"{name}_best_accuracy": max(curve), f"{name}_last_accuracy": curve[-1], f"{name}_curve": curve}
        return result

    results = harness.over_seeds(config, run_one)
    figures = harness.summarise(results)
    table = Table("", "book", "best epoch", "last epoch", box=None, pad_edge=False)
    for name, chapter in CHAPTERS.items():
        measured = (
            f"{figures[key]:.4f}" + (f" ± {figures[f'{key}_std']:.4f}" if config.seeds > 1 else "")
            for key in (f"{name}_best_accuracy", f"{name}_last_accuracy")
        )
        table.add_row(chapter.title, f"{chapter.published:.4f}", *measured)
    Console().print(table)
    picture = out / "nielsen.png"
    panels = [(c.title, [r[f"{name}_curve"] for r in results], c.published) for name, c in CHAPTERS.items()]
    curves.draw(picture, panels)
    harness.finish(out, "nielsen", config, figures, picture)


if __name__ == "__main__":
    harness.run("nielsen", main, Config, __doc__)
