"""Squared, absolute and Huber error compared.

The same small network learns from scikit-learn's diabetes data with each of the three losses, on the same split and
from the same initial weights; beside it learns scikit-learn's MLPRegressor, of the same size. All is done once more
with a decimal point misplaced in some of the training targets: squared error follows them, the others hardly do. Prints
R², mean absolute, root mean squared and mean error on the test set; writes metrics.json and regression.png: predicted
against true.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import funcnet
from funcnet import data, ops, optimizers
from funcnet.progress import step_progress

from . import harness
from .pictures import regression as pictures

MODELS = {"mse": "squared", "mae": "absolute", "huber": "Huber", "peer": "squared (scikit-learn)"}
MISPLACED = 10.0  # times too large is a target whose decimal point is misplaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The network, the losses, and how many targets are spoiled."""

    seeds: int = 10
    """How many seeds to run, counting up from the first: each is another split, and other weights."""
    hidden: tuple[int, ...] = (32,)
    """The units of each hidden layer, with relu: --hidden 32 32."""
    epochs: int = 100
    """How many times the training set is gone through."""
    batch_size: int = 32
    """Examples to a step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    l2: float = 0.1
    """The strength of the penalty on the weights."""
    delta: float = 1.0
    """Where the Huber loss turns from a parabola into a line, in standard deviations of the targets."""
    spoiled: float = 0.05
    """The share of the training targets that are made ten times too large, in the second of the two comparisons."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, epochs=self.epochs, batch_size=self.batch_size, hidden=min(self.hidden, default=1))
        harness.at_least(0, l2=self.l2)
        for name, value in (("learning-rate", self.learning_rate), ("delta", self.delta)):
            if not 0 < value < np.inf:
                raise harness.InputError(f"--{name} is above 0; got {value}")
        if not 0 <= self.spoiled <= 1:
            raise harness.InputError(f"--spoiled is a share in [0, 1]; got {self.spoiled}")


class Scaled(NamedTuple):
    """Inputs with mean 0 and deviation 1 on the training set; targets likewise, by what few outliers hardly move."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    middle: float
    spread: float

    def unscaled(self, predictions: Any) -> np.ndarray:
        return np.ravel(predictions) * self.spread + self.middle


def scaled(dataset: data.Dataset) -> Scaled:
    mean, deviation = dataset.x_train.mean(axis=0), dataset.x_train.std(axis=0)
    low, middle, high = np.percentile(dataset.y_train, [25, 50, 75])
    spread = (high - low) / 1.349  # of a normal distribution, its standard deviation
    y_train = ((dataset.y_train - middle) / spread).astype(np.float32)
    return Scaled((dataset.x_train - mean) / deviation, y_train, (dataset.x_test - mean) / deviation, middle, spread)


def misplace(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The targets, a share of which are ten times too large."""
    chosen = np.random.default_rng([seed, 1]).permutation(len(y))[: round(share * len(y))]
    return np.where(np.isin(np.arange(len(y)), chosen), MISPLACED * y, y)


@functools.cache  # the same objects for every seed, so that the second seed compiles nothing
def parts(config: Config):
    net, optimizer = funcnet.models.mlp(config.hidden, 1), optimizers.adam(config.learning_rate)
    losses = {"mse": ops.mean_squared_error(), "mae": ops.mean_absolute_error(), "huber": ops.huber(config.delta)}
    return net, optimizer, losses, ops.l2(config.l2)


def predict(config: Config, name: str, s: Scaled, seed: int) -> np.ndarray:
    """Trains with the loss of that name and predicts the test set, in the units of the targets."""
    net, optimizer, losses, penalty = parts(config)
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    harness.require_room(net, s.x_train.shape[1:], optimizer, batch_size=config.batch_size)
    params, _ = net.init(init_key, s.x_train.shape[1:])
    run = funcnet.fit(
        net, losses[name], optimizer, params, (s.x_train, s.y_train[:, None]), key=fit_key, penalty=penalty,
        epochs=config.epochs, batch_size=config.batch_size, progress=False,
    )  # fmt: skip
    return s.unscaled(net.fwd(run.params, s.x_test)[0])


def predict_by_peer(config: Config, s: Scaled, seed: int) -> np.ndarray:
    """The same with MLPRegressor. It halves the squares and divides its penalty by the batch, hence its alpha.

    It gets whole batches only: a last one of a single example would bear its penalty 32 times over.
    """
    from sklearn.neural_network import MLPRegressor

    whole = len(s.y_train) // config.batch_size * config.batch_size
    peer = MLPRegressor(
        hidden_layer_sizes=config.hidden,
        alpha=config.l2 * config.batch_size / 2,
        batch_size=config.batch_size,
        learning_rate_init=config.learning_rate,
        max_iter=config.epochs,
        n_iter_no_change=config.epochs,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it is told when to stop
        peer.fit(s.x_train[:whole], s.y_train[:whole])
    return s.unscaled(peer.predict(s.x_test))


def scores(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    error = predicted - true
    squares = (error**2).mean()
    return {
        "r2": float(1 - squares / true.var()),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(squares)),
        "bias": float(error.mean()),
    }


def table(figures: dict[str, Any], kind: str) -> Table:
    shown = Table("trained with", "R²", "MAE", "RMSE", "mean error", box=None, pad_edge=False)
    for name, title in MODELS.items():
        cells = []
        for key, digits in (("r2", 3), ("mae", 1), ("rmse", 1), ("bias", 1)):
            label = f"{kind}_{name}_{key}"
            spread = f" ± {figures[f'{label}_std']:.{digits}f}" if f"{label}_std" in figures else ""
            cells.append(f"{figures[label]:.{digits}f}{spread}")
        shown.add_row(title, *cells)
    return shown


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, seeds=min(config.seeds, 2), epochs=min(config.epochs, 10))
    kinds = {"clean": 0.0, "spoiled": config.spoiled}
    points: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {(k, m): [] for k in kinds for m in MODELS}
    with step_progress("network", config.seeds * len(points), lines=10) as report:

        def run_one(seed: int) -> dict[str, float]:
            dataset = data.diabetes(seed)
            found: dict[str, float] = {}
            if config.batch_size > (examples := len(dataset.x_train)):
                raise harness.InputError(
                    f"--batch-size is at most the {examples} training examples; got {config.batch_size}"
                )
            for kind, share in kinds.items():
                s = scaled(dataset._replace(y_train=misplace(dataset.y_train, share, seed)))
                for name, title in MODELS.items():
                    predicted = predict_by_peer(config, s, seed) if name == "peer" else predict(config, name, s, seed)
                    points[kind, name].append((dataset.y_test, predicted))
                    found |= {f"{kind}_{name}_{k}": v for k, v in scores(dataset.y_test, predicted).items()}
                    report(f"seed {seed}, {kind}, {title}: R² {found[f'{kind}_{name}_r2']:.3f}")
            return found

        figures = harness.summarise(harness.over_seeds(config, run_one))
    for kind, share in kinds.items():
        print(f"\n{share:.0%} of the training targets ten times too large, over {config.seeds} seeds:")
        Console().print(table(figures, kind))
    picture = out / "regression.png"
    pooled = {key: np.hstack(pairs) for key, pairs in points.items()}
    pictures.draw(picture, pooled, MODELS, kinds, figures)
    harness.finish(out, "regression", config, figures, picture)


if __name__ == "__main__":
    harness.run("regression", main, Config, __doc__)
