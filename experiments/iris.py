"""Fisher's irises: species from four lengths.

The goal that note 003 sets itself: numeric features, hidden layers with relu, softmax, categorical cross-entropy. It is
trained on 20 stratified splits, because 30 flowers, held out once, tell little. Prints the accuracy on the flowers held
out, mean and spread over the splits; writes metrics.json and iris.png: learning curves, and which flowers are mistaken.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

import funcnet
from funcnet import data, ops, optimizers
from funcnet.progress import step_progress

from . import harness
from .pictures import flowers

# Softmax and categorical cross-entropy in one; with integer labels, as of −Σ y log ŷ only −log ŷ at the label is left.
LOSS = ops.sparse_softmax_cross_entropy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The network, how it is trained, and on how many splits."""

    seeds: int = 20
    """How many splits, counting up from the first seed, each with initial weights of its own."""
    hidden: tuple[int, ...] = (8, 8)
    """The units of each hidden layer, with relu."""
    epochs: int = 50
    """How many times the training set is gone through."""
    batch_size: int = 16
    """Flowers to a step."""
    learning_rate: float = 0.01
    """Of Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, epochs=self.epochs, batch_size=self.batch_size, hidden=min(self.hidden, default=1))
        harness.positive(learning_rate=self.learning_rate)
        if self.batch_size > 120:
            raise harness.InputError(f"--batch-size is at most the 120 training examples; got {self.batch_size}")


def standardised(dataset: data.Dataset) -> data.Dataset:
    """Mean 0 and standard deviation 1 for each feature of the training part; the test part only follows."""
    mean, deviation = dataset.x_train.mean(axis=0), dataset.x_train.std(axis=0)
    return dataset._replace(x_train=(dataset.x_train - mean) / deviation, x_test=(dataset.x_test - mean) / deviation)


def main(config: Config, out: Path) -> None:
    net = funcnet.models.mlp(config.hidden, 3)
    optimizer = optimizers.adam(config.learning_rate)
    harness.require_room(net, (4,), optimizer, batch_size=config.batch_size)
    splits = min(2, config.seeds) if config.quick else config.seeds
    held_out: list[flowers.HeldOut] = []

    def run_one(seed: int) -> dict[str, Any]:
        dataset = data.iris(seed)  # a fifth held out, with every species in proportion
        scaled = standardised(dataset)
        init_key, fit_key = jax.random.split(jax.random.key(seed))
        params, _ = net.init(init_key, (4,))
        fit = funcnet.fit(
            net,
            LOSS,
            optimizer,
            params,
            scaled[:2],
            scaled[2:],
            key=fit_key,
            epochs=config.epochs,
            batch_size=config.batch_size,
            metrics={"accuracy": funcnet.accuracy},
            progress=False,
        )
        wrong = np.asarray(net.fwd(fit.params, scaled.x_test)[0]).argmax(axis=1) != dataset.y_test
        held_out.append(flowers.HeldOut(dataset.x_test, dataset.y_test, wrong))
        last = fit.history[-1]
        report(f"accuracy {last['validation_accuracy']:.3f}")
        return {
            "test_accuracy": last["validation_accuracy"],
            "test_loss": last["validation_loss"],
            "history": fit.history,
        }

    with step_progress("split", splits, lines=10) as report:
        results = harness.over_seeds(dataclasses.replace(config, seeds=splits), run_one)
    figures = harness.summarise(results)
    spread = f" ± {figures['test_accuracy_std']:.3f} over {splits} splits" if splits > 1 else ""
    print(f"test accuracy {figures['test_accuracy']:.4f}{spread}")
    picture = out / "iris.png"
    flowers.draw(picture, [result["history"] for result in results], held_out)
    harness.finish(out, "iris", config, figures, picture)


if __name__ == "__main__":
    harness.run("iris", main, Config, __doc__)
