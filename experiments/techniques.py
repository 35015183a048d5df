"""Improvement techniques, one change at a time.

A perceptron trained by plain gradient descent is the baseline; every technique changes one thing in it, and the last
row several at once. All have the same budget of epochs. The learning rate of each is chosen by the first seed, on a
sixth of the training set that is held out, by the accuracy over the last three epochs: of 0.1, 0.3, 1, 3 and so on the
search goes from a start to the better neighbour until none is better. The test set is looked at once a run, after the
training, and the strengths of decay, dropout and smoothing are usual values that nothing was tuned for. Prints a
table; writes metrics.json and techniques.png: test accuracy beside the baseline's, and learning curves on what was
held out.
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
from rich.table import Column, Table

import funcnet
from funcnet import data, initializers, ops, optimizers, schedules
from funcnet.models import mlp
from funcnet.progress import step_progress
from funcnet.training import NonFiniteError
from funcnet.types import Layer, Optimizer, Rule

from . import harness, rundir
from .pictures import comparison

LOSS = ops.sparse_softmax_cross_entropy()
METRICS = {"accuracy": funcnet.accuracy}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The baseline and its budget; --quick takes four techniques, scikit-learn's digits and no search."""

    seeds: int = 3
    """How many seeds to run, counting up from the first; with several, mean and spread are reported."""
    data: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    """MNIST, Fashion-MNIST, or scikit-learn's bundled digits."""
    hidden: tuple[int, ...] = (128,)
    """The units of each hidden layer, with relu."""
    epochs: int = 12
    """How many times the training set is gone through, by every technique."""
    batch_size: int = 64
    """Examples to a step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, epochs=self.epochs, hidden=min(self.hidden, default=1))
        harness.at_least(2, batch_size=self.batch_size)  # batch normalisation has no variance in one example


class Technique(NamedTuple):
    """One change of the baseline; ``start`` is where the search for its learning rate begins."""

    name: str
    group: str
    start: float
    optimizer: Callable[[float, int], Optimizer] = lambda rate, steps: optimizers.sgd(rate)  # steps of the whole run
    network: Callable[..., Layer] = mlp
    loss: Rule = LOSS
    penalty: Rule | None = None
    patience: int | None = None


def _cosine(rate: float, steps: int) -> Optimizer:
    return optimizers.sgd(schedules.cosine(rate, steps))


TECHNIQUES = [
    Technique("plain gradient descent", "baseline", 0.3),
    Technique("momentum 0.9", "optimizers", 0.03, lambda rate, steps: optimizers.momentum(rate)),
    Technique("Nesterov 0.9", "optimizers", 0.03, lambda rate, steps: optimizers.nesterov(rate)),
    Technique("Adagrad", "optimizers", 0.3, lambda rate, steps: optimizers.adagrad(rate)),
    Technique("RMSprop", "optimizers", 1e-3, lambda rate, steps: optimizers.rmsprop(rate)),
    Technique("Adam", "optimizers", 1e-3, lambda rate, steps: optimizers.adam(rate)),
    Technique("AdamW, decay 0.1", "optimizers", 1e-3, lambda rate, steps: optimizers.adamw(rate, weight_decay=0.1)),
    Technique("weight decay 1e-4", "regularisation", 0.3, penalty=ops.l2(1e-4)),
    Technique("dropout 0.2", "regularisation", 0.3, network=functools.partial(mlp, dropout_rate=0.2)),
    Technique("label smoothing 0.1", "regularisation", 0.3, loss=ops.sparse_softmax_cross_entropy(0.1)),
    Technique("early stopping, 3 epochs", "regularisation", 0.3, patience=3),
    Technique(
        "weights N(0, 0.01²)", "initialisation", 0.3, network=functools.partial(mlp, w_init=initializers.normal())
    ),
    Technique(
        "weights U(−½, ½)", "initialisation", 0.3, network=functools.partial(mlp, w_init=initializers.uniform())
    ),
    Technique("batch normalisation", "normalisation and schedules", 1,
              network=functools.partial(mlp, normalised=True)),
    Technique("rate falls by a cosine", "normalisation and schedules", 0.3, _cosine),
    Technique("rate halved 4 times", "normalisation and schedules", 1,
              lambda rate, steps: optimizers.sgd(schedules.step(rate, -(-steps // 5), 0.5))),
    Technique(
        "cosine, batch norm, smoothing", "normalisation and schedules", 1, _cosine,
        functools.partial(mlp, normalised=True), ops.sparse_softmax_cross_entropy(0.1),
    ),
]  # fmt: skip
QUICK = ("plain gradient descent", "Adam", "dropout 0.2", "batch normalisation")


class Run(NamedTuple):
    validation_accuracy: float
    test_accuracy: float
    curve: list[float]  # the validation accuracy after each epoch


Split = dict[Literal["train", "validation", "test"], tuple[Any, Any]]


def split(config: Config, seed: int) -> Split:
    """The last sixth of the training set is held out, for the choice of learning rates and for early stopping."""
    dataset = data.load(config.data, config.data_dir, seed)
    held_out = len(dataset.x_train) // 6
    examples = len(dataset.x_train) - held_out
    if config.batch_size > examples:
        raise harness.InputError(f"--batch-size is at most the {examples} training examples; got {config.batch_size}")
    x, y = dataset.x_train, dataset.y_train
    return jax.tree.map(
        jax.numpy.asarray,
        {"train": (x[:examples], y[:examples]), "validation": (x[examples:], y[examples:]), "test": dataset[2:]},
    )


@functools.cache  # the same objects for every seed, so that the second seed compiles nothing
def made(technique: Technique, hidden: tuple[int, ...], classes: int, rate: float, steps: int):
    return technique.network(hidden, classes), technique.optimizer(rate, steps)


def train(config: Config, technique: Technique, rate: float, seed: int, sets: Split) -> Run:
    """One run: the same seed gives every technique the same first weights, if they are of one shape, and order."""
    x, labels = sets["train"]
    steps = config.epochs * (len(x) // config.batch_size)
    net, optimizer = made(technique, config.hidden, int(labels.max()) + 1, rate, steps)
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    harness.require_room(net, x.shape[1:], optimizer, batch_size=config.batch_size, evaluated=2048)
    params, _ = net.init(init_key, x.shape[1:])
    result = funcnet.fit(
        net,
        technique.loss,
        optimizer,
        params,
        sets["train"],
        sets["validation"],
        key=fit_key,
        epochs=config.epochs,
        batch_size=config.batch_size,
        metrics=METRICS,
        penalty=technique.penalty,
        patience=technique.patience,
        progress=False,
    )
    at = {name: funcnet.evaluate(net, LOSS, METRICS, result.params, sets[name]) for name in ("validation", "test")}
    curve = [row["validation_accuracy"] for row in result.history]
    return Run(at["validation"]["accuracy"], at["test"]["accuracy"], curve)


def neighbours(rate: float) -> tuple[float, float]:
    """The rates before and after it in …, 0.1, 0.3, 1, 3, …"""
    place = round(2 * np.log10(rate))
    below, above = (float(f"{(1, 3)[k % 2]}e{k // 2}") for k in (place - 1, place + 1))
    return below, above


def search(attempt: Callable[[float], Run], start: float) -> dict[float, Run]:
    """Runs by learning rate: from ``start`` to the better neighbour, until both neighbours of the best were tried.

    A rate at which training diverges is no candidate; at ``start`` it raises NonFiniteError.
    """
    runs = {start: attempt(start)}
    while True:
        rate = best(runs)
        new = [other for other in neighbours(rate) if other not in runs]
        if not new:
            return runs
        for other in new:
            try:
                runs[other] = attempt(other)
            except NonFiniteError:
                runs[other] = Run(0.0, 0.0, [])


def best(runs: dict[float, Run]) -> float:
    """The rate with the highest score."""
    return max(runs, key=lambda rate: score(runs[rate]))


def score(run: Run) -> float:
    """The validation accuracy over the last three epochs: a single epoch is too noisy to choose by."""
    return float(np.mean(run.curve[-3:])) if run.curve else 0.0


def run_seed(
    config: Config, techniques: list[Technique], rates: dict[str, float], out: Path | None, seed: int
) -> dict[str, Any]:
    """Every technique by one seed; the first call fills ``rates``. Runs that ``out`` remembers are not rerun."""
    sets = split(config, seed)
    found, tried = {}, {}
    with step_progress(f"seed {seed}, technique", len(techniques)) as report:
        for technique in techniques:

            def attempt(rate: float, technique: Technique = technique) -> Run:
                name = f"seed_{seed}_{technique.name}_{rate:g}"
                return Run(*rundir.remembered(out, name, lambda: train(config, technique, rate, seed, sets)))

            if technique.name in rates:
                run = attempt(rates[technique.name])
            else:
                runs = {technique.start: attempt(technique.start)} if config.quick else search(attempt, technique.start)
                tried[technique.name] = {rate: score(runs[rate]) for rate in sorted(runs)}
                rates[technique.name] = best(runs)
                run = runs[best(runs)]
            found[technique.name] = run
            report(f"{technique.name}: {run.validation_accuracy:.4f} at rate {rates[technique.name]:g}")
    return {
        **{f"{name}: test_accuracy": run.test_accuracy for name, run in found.items()},
        **{f"{name}: validation_accuracy": run.validation_accuracy for name, run in found.items()},
        "curves": {name: run.curve for name, run in found.items()},
        "scores_by_rate": tried,
    }


def table(techniques: list[Technique], rates: dict[str, float], results: list[dict[str, Any]]) -> Table:
    """Test accuracies in percent, and how far each lies from the baseline's with the same seed."""
    rows = Table(
        "technique",
        Column("rate", justify="right"),
        Column("held out", justify="right"),
        Column("test, %", justify="right"),
        Column("beside plain", justify="right"),
        box=None,
        pad_edge=False,
    )
    accuracy = {t.name: test_accuracies(t.name, results) for t in techniques}
    for technique in techniques:
        name = technique.name
        held_out = 100 * np.mean([result[f"{name}: validation_accuracy"] for result in results])
        gain = accuracy[name] - accuracy[techniques[0].name]
        shown = "" if technique is techniques[0] else spread(gain, "+.2f")
        rows.add_row(name, f"{rates[name]:g}", f"{held_out:.2f}", spread(accuracy[name], ".2f"), shown)
    return rows


def test_accuracies(name: str, results: list[dict[str, Any]]) -> np.ndarray:
    """In percent, a seed each."""
    return np.array([100 * result[f"{name}: test_accuracy"] for result in results])


def spread(values: np.ndarray, style: str) -> str:
    return f"{values.mean():{style}}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def main(config: Config, out: Path) -> None:
    techniques = TECHNIQUES
    if config.quick:
        config = dataclasses.replace(config, data="digits", epochs=min(config.epochs, 5), seeds=min(config.seeds, 2))
        techniques = [technique for technique in TECHNIQUES if technique.name in QUICK]
    rates: dict[str, float] = {}
    results = harness.over_seeds(config, functools.partial(run_seed, config, techniques, rates, out))
    Console().print(table(techniques, rates, results))
    figures = harness.summarise(results) | {"learning_rates": rates}
    picture = out / "techniques.png"
    bars = [
        comparison.Bar(t.name, t.group, test_accuracies(t.name, results), results[0]["curves"][t.name])
        for t in techniques
    ]
    comparison.draw(picture, f"{config.data}, {config.epochs} epochs", bars)
    harness.finish(out, "techniques", config, figures, picture)


if __name__ == "__main__":
    harness.run("techniques", main, Config, __doc__)
