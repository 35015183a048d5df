"""MNIST by convolution, gradients by hand.

A convolutional network: its gradients are compared with jax.grad's, and then it is trained with them by Adam,
whose learning rate falls to 0 along a cosine. Prints the largest error of the hand-written gradient, the progress and
the test accuracy; writes metrics.json and mnist_cnn.png: learning curves, the kernels of the first layer with what
each makes of a digit, and the worst mistakes.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

import funcnet
from funcnet import data, ops, optimizers, schedules
from funcnet.models import Images, Spec
from funcnet.training import Fit
from funcnet.types import Layer, Optimizer, ShapeError

from . import harness, rundir
from .pictures import classification, kernels

LOSS = ops.sparse_softmax_cross_entropy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Mixed):
    """The network, how it is trained, and on what."""

    seeds: int = 3
    """How many seeds to run, counting up from the first; with several, mean and spread are reported."""
    data: Literal["mnist", "fashion-mnist"] = "mnist"
    """MNIST or Fashion-MNIST."""
    model: Literal["lenet", "resnet"] = "lenet"
    """Convolutions, maxima and dense layers; or residual blocks with batch normalisation."""
    channels: tuple[int, ...] = (16, 32)
    """The channels of each convolution of lenet, or of each stage of resnet."""
    kernel_size: int = 5
    """The rows and columns of lenet's kernels."""
    stride: int = 1
    """How far lenet's kernels step."""
    padding: Literal["valid", "same"] = "valid"
    """Whether lenet's kernels stay inside of the image, or it is padded so that it keeps its size."""
    hidden: tuple[int, ...] = (128,)
    """The units of lenet's hidden dense layers."""
    dropout: float = 0.5
    """The probability to drop one of these in training."""
    blocks: int = 1
    """The residual blocks in each stage of resnet."""
    epochs: int = 12
    """How many times the training set is gone through."""
    batch_size: int = 64
    """Examples to a step."""
    learning_rate: float = 2e-3
    """The first learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, **{name: getattr(self, name) for name in ("kernel_size", "stride", "blocks", "epochs")})
        harness.at_least(1, channels=min(self.channels, default=0), hidden=min(self.hidden, default=1))
        harness.at_least(2, batch_size=self.batch_size)  # batch normalisation has no variance in one example
        harness.positive(learning_rate=self.learning_rate)
        if not 0 <= self.dropout < 1:
            raise harness.InputError(f"--dropout is a probability in [0, 1); got {self.dropout}")


class Trained(NamedTuple):
    net: Layer
    fit: Fit
    probabilities: np.ndarray  # (N, K) on the test set
    dataset: data.Dataset


@functools.cache  # the same objects for every seed, so that the second seed compiles nothing
def made(config: Config, steps: int) -> tuple[Layer, Optimizer]:
    return funcnet.models.build(config.model, network_settings(config)), optimizers.adam(
        schedules.cosine(config.learning_rate, steps)
    )


def network_settings(config: Config) -> dict[str, Any]:
    if config.model == "resnet":
        return {"stages": config.channels, "blocks": config.blocks}
    return {
        "channels": config.channels,
        "hidden": config.hidden,
        "kernel_size": config.kernel_size,
        "stride": config.stride,
        "padding": config.padding.upper(),
        "dropout_rate": config.dropout,
    }


def load(config: Config, seed: int) -> data.Dataset:
    """Images (N, H, W, 1)."""
    dataset = data.load(config.data, config.data_dir, seed)
    dataset = dataset._replace(x_train=dataset.x_train[..., None], x_test=dataset.x_test[..., None])
    if not config.quick:
        return dataset
    return data.Dataset(*(part[:1000] for part in dataset))


def train(config: Config, seed: int, compare: bool, out: Path | None = None) -> Trained:
    """Loads, compares the gradients if asked to, trains (or goes on in ``out``), and predicts the test set."""
    dataset = load(config, seed)
    examples = len(dataset.x_train)
    if config.batch_size > examples:
        raise harness.InputError(f"--batch-size is at most the {examples} training examples; got {config.batch_size}")
    epochs = min(config.epochs, 2) if config.quick else config.epochs
    net, optimizer = made(config, epochs * (examples // config.batch_size))
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    try:
        shape, sizes = dataset.x_train.shape[1:], {"batch_size": config.batch_size, "evaluated": 2048}
        harness.require_room(net, shape, optimizer, **sizes)
        params, _ = net.init(init_key, shape)
    except ShapeError as error:
        raise harness.InputError(f"the network does not fit the image: {error}") from None
    if compare:
        print(funcnet.summary(net, dataset.x_train.shape[1:]))
        # noise: on a blank image with bias 0, relu stands on its kink, and the two take different slopes there
        noise = np.random.default_rng(seed).uniform(0, 0.01, dataset.x_train[:8].shape)
        harness.compare_gradients(net, LOSS, params, dataset.x_train[:8] + noise, dataset.y_train[:8], fit_key)
    result = funcnet.fit(
        config.computed(net),
        LOSS,
        optimizer,
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
    return Trained(net, result, probabilities(net, result.params, dataset.x_test), dataset)


def probabilities(net: Layer, params: Any, x: np.ndarray) -> np.ndarray:
    """Of every class, for every image, a thousand at a time: what is cut for a convolution is large."""
    predict = jax.jit(lambda params, x: ops.softmax.fwd(net.fwd(params, x)[0])[0])
    return np.concatenate([predict(params, x[start : start + 1000]) for start in range(0, len(x), 1000)])


def main(config: Config, out: Path) -> None:
    runs: list[Trained] = []  # the first alone: the others would hold their data sets in memory

    def run_one(seed: int) -> dict[str, Any]:
        trained = train(config, seed, compare=not runs, out=out)
        if not runs:
            runs.append(trained)
        last = trained.fit.history[-1]
        print(f"seed {seed}: test accuracy {last['validation_accuracy']:.4f}")
        return {
            "test_accuracy": last["validation_accuracy"],
            "test_loss": last["validation_loss"],
            "train_seconds": sum(row["seconds"] for row in trained.fit.history),
            "history": trained.fit.history,
        }

    results = harness.over_seeds(config, run_one)
    figures = harness.summarise(results)
    spread = f" ± {figures['test_accuracy_std']:.4f} over {config.seeds} seeds" if config.seeds > 1 else ""
    print(f"test accuracy {figures['test_accuracy']:.4f}{spread}")
    picture = out / "mnist_cnn.png"
    kernels.draw(picture, config.data, [result["history"] for result in results], *runs[0])
    images, names = Images(margin=4 if config.data == "mnist" else 0), tuple(classification.class_names(config.data))
    spec = Spec(config.model, network_settings(config), runs[0].dataset.x_train.shape[1:], images, names)
    harness.finish(out, "mnist_cnn", config, figures, picture, model=(spec, runs[0].fit.params))


if __name__ == "__main__":
    harness.run("mnist_cnn", main, Config, __doc__)
