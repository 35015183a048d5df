"""Spirals, learned up to the Bayes rate.

Note 002 draws three spiral arms, puts them through an untrained network, and ends. Here a network is trained on the
note's 100 points an arm, and on 3,334. On fresh points the second comes within 0.01 of the Bayes rate: the accuracy
that no classifier can pass, as noise carries points of one arm into another, computed from the density that the points
are drawn from. Prints the accuracies; writes metrics.json, spiral.png (the decision regions beside the Bayes
classifier's) and spiral.gif (the second network as it learns).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import funcnet
from funcnet import data, ops, optimizers, schedules, training
from funcnet.checkpoint import saving
from funcnet.progress import step_progress

from . import harness, rundir
from .pictures import regions

LOSS = ops.sparse_softmax_cross_entropy()
FEW, MANY, FRESH = 100, 3_334, 33_334  # points an arm: the note's, 10,000 in all, and 100,000 to judge on
BATCH, STRIDE = 100, 50  # points to a step, and steps to a call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The spirals, the network, and how it is trained."""

    classes: int = 3
    """How many arms there are, each a class."""
    noise: float = 0.2
    """How far points stray from their arm: see funcnet.data.spiral."""
    hidden: tuple[int, ...] = (64, 64)
    """The units of each hidden layer, with relu."""
    steps: int = 6000
    """How many batches of 100 points are trained on."""
    learning_rate: float = 0.01
    """Of Adam at first; it falls to 0 along half a cosine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(2, classes=self.classes)
        harness.at_least(1, hidden=min(self.hidden, default=1))
        harness.at_least(STRIDE, steps=self.steps)
        harness.positive(learning_rate=self.learning_rate)
        if self.classes > 10:
            raise harness.InputError(f"--classes is at most 10; got {self.classes}")
        if not 0.01 <= self.noise <= 2:
            raise harness.InputError(f"--noise lies between 0.01 and 2; got {self.noise}")


# ---------------------------------------------------------------- the Bayes classifier


def densities(x: np.ndarray, classes: int, noise: float) -> np.ndarray:
    """Of each class at points (N, 2), up to a factor that all have in common: (N, K).

    A point of arm c has its radius r uniform in [0, 1], whatever c is, and its angle is 2.5t, t = 4c + 4r +
    ``noise``·N(0, 1). So angle − 10r is 10c + 2.5·``noise``·N(0, 1), whatever r is: it alone tells the arms apart. The
    factor is the Jacobian 1/r from (r, angle) to the plane.
    """
    ahead = np.arctan2(x[:, 0], x[:, 1]) - 10 * np.hypot(x[:, 0], x[:, 1])  # x = (r sin, r cos)
    return densities_ahead(ahead, classes, noise)


def densities_ahead(ahead: np.ndarray, classes: int, noise: float) -> np.ndarray:
    """Of angle − 10r, (N,), in each class: (N, K). A normal density, wrapped: the sum over all turns that count."""
    deviation = 2.5 * noise
    most = int(2 * deviation) + 1  # turns to either side; what is left out lies more than 12 deviations away
    turns = 2 * np.pi * np.arange(-most, most + 1)
    nearest = (ahead[:, None] - 10 * np.arange(classes) + np.pi) % (2 * np.pi) - np.pi
    z = (nearest[..., None] + turns) / deviation
    return np.exp(-0.5 * z**2).sum(axis=-1) / (deviation * np.sqrt(2 * np.pi))


def bayes_rate(classes: int, noise: float, points: int = 10_000) -> float:
    """The accuracy of the best classifier there can be: 1/K ∫ max_c p(ahead | c) over a turn, by the midpoint rule.

    The integral, not the share of sampled points that the Bayes classifier gets right: it is one-dimensional and exact
    to many digits, while 100,000 points leave a standard error of 0.001.
    """
    midpoints = 2 * np.pi * (np.arange(points) + 0.5) / points
    return float(densities_ahead(midpoints, classes, noise).max(axis=1).mean() * 2 * np.pi / classes)


# ---------------------------------------------------------------- the network


class Trained(NamedTuple):
    points: tuple[np.ndarray, np.ndarray]
    """The training points."""
    frames: list[regions.Frame]
    """How it learned; the last is what it has learned."""


def train(
    config: Config, arm: int, frames: int, seed: int, fresh: tuple[np.ndarray, np.ndarray], out: Path | None = None
) -> Trained:
    """On ``arm`` points an arm. Of the steps on the way, which matter less and less, every frame skips more.

    ``out``: the run's directory, to go on from there.
    """
    points = data.spiral(arm, config.classes, config.noise, seed)
    net = funcnet.models.mlp(config.hidden, config.classes)
    optimizer = optimizers.adam(schedules.cosine(config.learning_rate, config.steps))
    predict = jax.jit(lambda params, x: ops.softmax.fwd(net.fwd(params, x)[0])[0])
    init_key, order_key = jax.random.split(jax.random.key(seed))
    harness.require_room(net, (2,), optimizer, batch_size=BATCH, evaluated=len(fresh[0]))
    params, _ = net.init(init_key, (2,))
    state = training.init_state(params, optimizer, order_key)
    step = training.train_step(net, LOSS, optimizer)
    trained = training.train_epochs(step, state, points, BATCH, every=STRIDE)
    strides = config.steps // STRIDE
    shown = sorted(set(np.geomspace(strides, 1, frames).astype(int).tolist()))
    film = np.zeros((len(shown), len(regions.GRID), config.classes), np.float32)
    accuracies: list[float] = []
    with saving(rundir.checkpoints(out, f"seed_{seed}", str(arm)), {}) as saved:
        if found := saved.restore((state, film)):
            (state, held), accuracies = found
            film[:] = held
        trained = training.train_epochs(step, state, points, BATCH, every=STRIDE)
        done = len(accuracies)
        with step_progress(f"{len(points[0]):,} points", len(shown), lines=5, done=done) as report:
            for n in range(int(state.step) // STRIDE + 1, strides + 1):
                state, _ = next(trained)
                if n in shown:
                    film[len(accuracies)] = predict(state.params, regions.GRID)
                    accuracies.append(float((predict(state.params, fresh[0]).argmax(axis=1) == fresh[1]).mean()))
                    saved.save(int(state.step), (state, film.copy()), accuracies)
                    report(f"step {n * STRIDE}: accuracy {accuracies[-1]:.4f}")
    shots = zip(shown, accuracies, film, strict=True)
    return Trained(points, [regions.Frame(n * STRIDE, right, frame) for n, right, frame in shots])


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, steps=min(config.steps, 500), seeds=1)
    runs: list[dict[str, Trained]] = []  # the first alone is drawn
    rate = bayes_rate(config.classes, config.noise)

    def run_one(seed: int) -> dict[str, Any]:
        # a stream of its own: the seeds of training are below 2**32
        fresh = data.spiral(FRESH, config.classes, config.noise, seed=2**32 + seed)
        bayes = densities(fresh[0], config.classes, config.noise).argmax(axis=1) == fresh[1]
        few = train(config, FEW, 1, seed, fresh, out)
        many = train(config, MANY, 10 if config.quick else 40, seed, fresh, out)
        if not runs:
            runs.append({"few": few, "many": many})
        return {
            "bayes_rate": rate,
            "bayes_accuracy": float(bayes.mean()),
            "test_accuracy": many.frames[-1].accuracy,
            "test_accuracy_few": few.frames[-1].accuracy,
            "below_bayes_rate": rate - many.frames[-1].accuracy,
            "fresh_points": len(bayes),
        }

    results = harness.over_seeds(config, run_one)
    figures = harness.summarise(results)
    print(f"Bayes rate {rate:.4f}; the Bayes classifier on the fresh points: {figures['bayes_accuracy']:.4f}")
    for key, arm in (("test_accuracy_few", FEW), ("test_accuracy", MANY)):
        spread = f" ± {figures[f'{key}_std']:.4f} over {config.seeds} seeds" if config.seeds > 1 else ""
        print(f"trained on {arm * config.classes:,} points: {figures[key]:.4f}{spread}")
    picture, film = out / "spiral.png", out / "spiral.gif"
    posterior = densities(regions.GRID, config.classes, config.noise)
    posterior /= posterior.sum(axis=1, keepdims=True)
    regions.draw(picture, [(t.points, t.frames[-1]) for t in runs[0].values()], posterior, rate)
    regions.animate(film, runs[0]["many"].frames, posterior, rate)
    harness.finish(out, "spiral", config, figures, picture, film)


if __name__ == "__main__":
    harness.run("spiral", main, Config, __doc__)
