"""Pictures of a convolutional network: learning curves, what its first layer has learned, and its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from funcnet.data import Dataset
from funcnet.training import Fit
from funcnet.types import Layer

from . import classification, curves, save, style

SHOWN = 16  # kernels, in two rows


def draw(
    path: Path,
    name: str,
    histories: list[list[dict[str, float]]],
    net: Layer,
    fit: Fit,
    probabilities: np.ndarray,
    dataset: Dataset,
) -> None:
    """``histories``: of every seed. The rest is of the first: the first of ``net``'s parts is a convolution."""
    figure: Any = plt.figure(figsize=(14, 9.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1])
    left, right = upper.subfigures(1, 2, width_ratios=[1, 1.7])
    _errors(left.subplots(), histories)
    image = dataset.x_test[:1]
    maps, _ = net.parts[0].fwd(fit.params[0], image)
    _kernels(right, np.asarray(fit.params[0]["w"][:, :, 0]), np.asarray(maps[0]), image[0, :, :, 0])
    classification.draw_mistakes(lower, classification.class_names(name), dataset, probabilities)
    accuracy = np.mean([history[-1]["validation_accuracy"] for history in histories])
    seeds = f"mean of {len(histories)} seeds" if len(histories) > 1 else "one seed"
    figure.suptitle(f"{name}: test accuracy {accuracy:.2%} after {len(histories[0])} epochs, {seeds}", fontsize=15)
    save(figure, path, 110)
    plt.close(figure)


def _errors(axes: Any, histories: list[list[dict[str, float]]]) -> None:
    """The share that is wrong: on a log scale, as accuracies near 1 all look the same."""
    for split, label, colour in (("train", "training", style.TRAINING), ("validation", "test", style.OURS)):
        runs = [[100 * (1 - row[f"{split}_accuracy"]) for row in history] for history in histories]
        curves.plot(axes, range(1, len(runs[0]) + 1), runs, label, colour)
    axes.set_yscale("log", nonpositive="mask")  # none wrong has no place on it
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(ylabel="wrong, per cent (log scale)", title="errors after each epoch, evaluated without dropout")
    axes.legend(title="mean, and each seed" if len(histories) > 1 else None)


def _kernels(figure: Any, weights: np.ndarray, maps: np.ndarray, image: np.ndarray) -> None:
    """``weights`` (R, S, O) and ``maps`` (P, Q, O): each kernel, and below it what it makes of ``image``."""
    count = min(SHOWN, weights.shape[2])
    columns = -(-count // 2)
    figure.suptitle("kernels of the first layer (red excites, blue inhibits), and what each makes of the digit")
    digit, grid = figure.subfigures(1, 2, width_ratios=[2, columns])
    axes = digit.subplots()
    axes.imshow(image, cmap="gray_r")
    axes.set_title("the digit", fontsize=10)
    axes.axis("off")
    panels = grid.subplots(4, columns, squeeze=False)
    reach, most = np.abs(weights).max(), np.abs(maps).max()
    for axes in panels.flat:
        axes.axis("off")
    for k in range(count):
        row, column = 2 * (k // columns), k % columns
        panels[row, column].imshow(weights[:, :, k], cmap=style.SIGNED, vmin=-reach, vmax=reach)
        panels[row + 1, column].imshow(maps[:, :, k], cmap=style.SIGNED, vmin=-most, vmax=most)
