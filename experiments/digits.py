"""Handwritten digits, gradients derived by hand.

A multilayer perceptron: its gradients are compared with jax.grad's, and then it is trained with them. Prints the
largest error of the hand-written gradient, the progress, and the test accuracy, overall and of every class; writes
metrics.json and digits.png: learning curves, confusion matrix, the images with the largest losses.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import data, ops, optimizers, schedules
from funcnet.models import Images, Spec
from funcnet.training import Fit

from . import harness, rundir
from .pictures import classification

# Each optimizer with the learning rate it gets when none is given.
OPTIMIZERS: dict[str, tuple[Callable[..., funcnet.Optimizer], float]] = {
    "sgd": (optimizers.sgd, 0.1),
    "momentum": (optimizers.momentum, 0.03),
    "nesterov": (optimizers.nesterov, 0.03),
    "adagrad": (optimizers.adagrad, 0.03),
    "rmsprop": (optimizers.rmsprop, 1e-3),
    "adam": (optimizers.adam, 1e-3),
    "adamw": (optimizers.adamw, 1e-3),
    "lion": (optimizers.lion, 1e-4),
}
LOSS = ops.sparse_softmax_cross_entropy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Mixed):
    """The network, how it is trained, and on what."""

    data: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    """scikit-learn's bundled digits (a fifth held out), MNIST or Fashion-MNIST."""
    hidden: tuple[int, ...] = (256,)
    """The units of each hidden layer, with relu: --hidden 512 512."""
    epochs: int = 60
    """How many times the training set is gone through."""
    batch_size: int = 32
    """Examples to a step."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion"] = "adam"
    """How gradients become steps."""
    learning_rate: float | None = harness.optional("RATE")
    """The first learning rate; if not given, one that suits the optimizer."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate stays as it is, or falls to 0 along half a cosine."""
    dropout: float = 0.0
    """The probability to drop a hidden unit in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, epochs=self.epochs, batch_size=self.batch_size, hidden=min(self.hidden, default=1))
        if self.learning_rate is not None:
            harness.positive(learning_rate=self.learning_rate)
        if not 0 <= self.dropout < 1:
            raise harness.InputError(f"--dropout is a probability in [0, 1); got {self.dropout}")


class Trained(NamedTuple):
    fit: Fit
    probabilities: np.ndarray  # (N, K) on the test set
    dataset: data.Dataset


def train(config: Config, seed: int, compare: bool, out: Path | None = None) -> Trained:
    """Loads, compares the gradients if asked to, trains (or goes on in ``out``), and predicts the test set."""
    dataset = data.load(config.data, config.data_dir, seed)
    epochs = config.epochs
    if config.quick:
        epochs = min(epochs, 5)
        dataset = dataset._replace(x_train=dataset.x_train[:2000], y_train=dataset.y_train[:2000])
    examples = len(dataset.x_train)
    if config.batch_size > examples:
        raise harness.InputError(f"--batch-size is at most the {examples} training examples; got {config.batch_size}")
    classes = int(dataset.y_train.max()) + 1
    net = network(config.hidden, classes, config.dropout)
    steps = epochs * (examples // config.batch_size)
    adjust = optimizer(config.optimizer, config.learning_rate, config.schedule, steps)
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    sizes = {"batch_size": config.batch_size, "evaluated": len(dataset.x_test)}
    harness.require_room(net, dataset.x_train.shape[1:], adjust, **sizes)
    params, _ = net.init(init_key, dataset.x_train.shape[1:])
    if compare:
        print(funcnet.summary(net, dataset.x_train.shape[1:]))
        batch = slice(0, min(128, examples))
        batch_of = dataset.x_train[batch], dataset.y_train[batch]
        harness.compare_gradients(net, LOSS, params, *batch_of, fit_key)
    result = funcnet.fit(
        config.computed(net),
        LOSS,
        adjust,
        params,
        dataset[:2],
        dataset[2:],
        key=fit_key,
        epochs=epochs,
        batch_size=config.batch_size,
        metrics={"accuracy": funcnet.accuracy},
        checkpoints=rundir.checkpoints(out, f"seed_{seed}"),
        places=config.places(config.batch_size),
    )
    logits, _ = jax.jit(net.fwd)(result.params, dataset.x_test)
    return Trained(result, np.asarray(ops.softmax.fwd(logits)[0]), dataset)


@functools.cache  # the same objects for every seed, so that the second seed compiles nothing
def network(hidden: tuple[int, ...], classes: int, dropout: float) -> funcnet.Layer:
    return funcnet.models.mlp(hidden, classes, dropout_rate=dropout)


@functools.cache
def optimizer(name: str, learning_rate: float | None, schedule: str, steps: int) -> funcnet.Optimizer:
    factory, own_rate = OPTIMIZERS[name]
    rate = learning_rate or own_rate
    return factory(schedules.cosine(rate, steps) if schedule == "cosine" else rate)


def spec(config: Config, dataset: data.Dataset) -> Spec:
    names = tuple(classification.class_names(config.data))
    settings = {"hidden": config.hidden, "outputs": len(names), "dropout_rate": config.dropout}
    images = Images(16) if config.data == "digits" else Images(margin=4 if config.data == "mnist" else 0)
    return Spec("mlp", settings, dataset.x_train.shape[1:], images, names)


def class_accuracy(labels: np.ndarray, predicted: np.ndarray) -> list[float]:
    """The share of each class that is recognised."""
    return [float((predicted[labels == k] == k).mean()) for k in range(int(labels.max()) + 1)]


def main(config: Config, out: Path) -> None:
    runs: list[Trained] = []  # the first alone: the others would hold their data sets in memory

    def run_one(seed: int) -> dict[str, Any]:
        trained = train(config, seed, compare=not runs, out=out)
        if not runs:
            runs.append(trained)
        last = trained.fit.history[-1]
        print(f"seed {seed}: test accuracy {last['validation_accuracy']:.4f}")
        per_class = class_accuracy(trained.dataset.y_test, trained.probabilities.argmax(axis=1))
        return {
            "test_accuracy": last["validation_accuracy"],
            "test_loss": last["validation_loss"],
            "train_seconds": sum(row["seconds"] for row in trained.fit.history),
            "class_accuracy": per_class,
            "history": trained.fit.history,
        }

    results = harness.over_seeds(config, run_one)
    figures = harness.summarise(results)
    names = classification.class_names(config.data)
    table = Table("class", *names, box=None, pad_edge=False)  # ten columns fit into 80 characters
    mean = np.mean([result["class_accuracy"] for result in results], axis=0)
    table.add_row("% right", *(f"{100 * share:.1f}" for share in mean))
    Console().print(table)
    spread = f" ± {figures['test_accuracy_std']:.4f} over {config.seeds} seeds" if config.seeds > 1 else ""
    print(f"test accuracy {figures['test_accuracy']:.4f}{spread}")
    picture = out / "digits.png"
    classification.draw(picture, config.data, runs[0].fit.history, runs[0].dataset, runs[0].probabilities)
    harness.finish(out, "digits", config, figures, picture, model=(spec(config, runs[0].dataset), runs[0].fit.params))


if __name__ == "__main__":
    harness.run("digits", main, Config, __doc__)
