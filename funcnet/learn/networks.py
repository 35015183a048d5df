"""Trains a network of a learner's rules on handwritten digits, by their gradients alone."""

import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..data import Dataset, digits, mnist
from ..gradcheck.engine.underived import without_autodiff

RATE, DECAY, BATCH, SEED = 0.05, 0.9, 64, 0
HIDDEN, FILTERS, CLASSES = 64, 8, 10
Arrays = dict[str, np.ndarray]


class Network(NamedTuple):
    """How pictures (N, H, W) enter a network, its parameters for them, and how many steps it trains."""

    enter: Callable[[np.ndarray], np.ndarray]
    parameters: Callable[[int, int], Mapping[str, tuple[int, ...]]]
    """Shapes by name, for pictures of so many rows and columns; in the order of the forward's arguments."""
    steps: int


def _of_perceptron(rows: int, columns: int) -> Mapping[str, tuple[int, ...]]:
    return {"w1": (rows * columns, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}


def _of_convnet(rows: int, columns: int) -> Mapping[str, tuple[int, ...]]:
    flat = (rows - 2) // 2 * ((columns - 2) // 2) * FILTERS
    return {"w1": (3, 3, 1, FILTERS), "b1": (FILTERS,), "w2": (flat, CLASSES), "b2": (CLASSES,)}


def _of_recurrent(rows: int, columns: int) -> Mapping[str, tuple[int, ...]]:
    lstm = {"w": (4, columns, HIDDEN), "u": (4, HIDDEN, HIDDEN), "b": (4, HIDDEN)}
    return lstm | {"w2": (HIDDEN, CLASSES), "b2": (CLASSES,)}


NETWORKS = {
    "perceptron": Network(lambda x: x.reshape(len(x), -1), _of_perceptron, 1500),
    "convnet": Network(lambda x: x[..., None], _of_convnet, 400),
    "recurrent": Network(lambda x: x.swapaxes(0, 1), _of_recurrent, 600),
}


def train(name: str, module: ModuleType, data_dir: str | None) -> str:
    """Trains by gradient descent with momentum, and says how many of the pictures that were held out it knows.

    ``module``: a learner's file, with NAME_forward, NAME_backward and NAME_scores. On MNIST if ``data_dir``
    names its files, else on scikit-learn's digits. Raises DataError, ImportError, and what the
    learner's code raises.
    """
    start, network = time.perf_counter(), NETWORKS[name]
    data = mnist(data_dir) if data_dir else digits()
    forward, backward, scores = (getattr(module, f"{name}_{part}") for part in ("forward", "backward", "scores"))
    rng = np.random.default_rng(SEED)
    shapes = network.parameters(*data.x_train.shape[1:])
    params = {key: _start(rng, shape) for key, shape in shapes.items()}
    speed = {key: np.zeros(shape) for key, shape in shapes.items()}
    with without_autodiff():
        for _ in range(network.steps):
            rows = rng.integers(len(data.x_train), size=BATCH)
            x, labels = network.enter(data.x_train[rows].astype(float)), data.y_train[rows]
            _, cache = forward(x, labels, *params.values())
            for key, gradient in zip(params, backward(1.0, cache), strict=True):
                speed[key] = DECAY * speed[key] - RATE * np.asarray(gradient)
                params[key] = params[key] + speed[key]
        right = _right(data, network, scores, params)
    where = "MNIST" if data_dir else "scikit-learn's digits"
    return (
        f"trained on {where} by your gradients alone, {network.steps:,} steps in {time.perf_counter() - start:.0f} s: "
        f"it knows {right:.1%} of {len(data.x_test):,} pictures that it has not seen"
    )


def _start(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights with a variance of two over the inputs (He et al. 2015), zeros for a bias: it has an axis less."""
    if len(shape) == 1 or shape == (4, HIDDEN):
        return np.zeros(shape)
    inputs = np.prod(shape[:-1]) if len(shape) != 3 else shape[1]
    return rng.normal(size=shape) * np.sqrt(2 / inputs)


def _right(data: Dataset, network: Network, scores: Callable[..., Any], params: Arrays) -> float:
    """The share of the test set that is classified right."""
    found = []
    for begin in range(0, len(data.x_test), 1000):
        x = network.enter(data.x_test[begin : begin + 1000].astype(float))
        found.append(np.argmax(scores(x, *params.values())[0], axis=-1))
    return float(np.mean(np.concatenate(found) == data.y_test))
