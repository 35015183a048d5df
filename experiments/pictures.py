"""Pictures of a trained classifier."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import confusion_matrix

from funcnet.data import Dataset

CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]


def class_names(name: str) -> list[str]:
    return CLOTHES if name == "fashion-mnist" else [str(k) for k in range(10)]


def classification(
    path: Path, name: str, history: list[dict[str, float]], dataset: Dataset, probabilities: np.ndarray
) -> None:
    """Learning curves, the confusion matrix and the images of the test set with the largest losses."""
    figure: Any = plt.figure(figsize=(13, 8.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.6, 1])
    curves, matrix = upper.subfigures(1, 2, width_ratios=[1.1, 1])
    _curves(curves, history)
    _confusion(matrix, class_names(name), dataset.y_test, probabilities.argmax(axis=1))
    _mistakes(lower, class_names(name), dataset, probabilities)
    accuracy = history[-1]["validation_accuracy"]
    figure.suptitle(f"{name}: test accuracy {accuracy:.2%} after {len(history)} epochs", fontsize=15)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(figure: Any, history: list[dict[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    both: Any = figure.subplots(2, 1, sharex=True)
    for axes, kind in zip(both, ("loss", "accuracy"), strict=True):
        for split, label in (("train", "training"), ("validation", "test")):
            axes.plot(
                epochs, [row[f"{split}_{kind}"] for row in history], label=label, marker="." if len(epochs) < 9 else ""
            )
        axes.set_ylabel("cross-entropy (log scale)" if kind == "loss" else "accuracy")
        axes.grid(alpha=0.3)
    axes.set_xlabel("epoch")
    axes.legend(loc="lower right", title="evaluated on")
    figure.axes[0].set_yscale("log")


def _confusion(figure: Any, names: list[str], labels: np.ndarray, predicted: np.ndarray) -> None:
    axes = figure.subplots()
    counts = confusion_matrix(labels, predicted, labels=range(len(names)))
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()))
    for i, j in np.ndindex(counts.shape):
        if counts[i, j]:
            dark = wrong[i, j] > 0.6 * wrong.max()
            axes.text(j, i, counts[i, j], ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names[0]) > 1 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix of the test set; mistakes are red")


def _mistakes(figure: Any, names: list[str], dataset: Dataset, probabilities: np.ndarray, columns: int = 10) -> None:
    predicted = probabilities.argmax(axis=1)
    of_truth = np.take_along_axis(probabilities, dataset.y_test[:, None], axis=1)[:, 0]
    wrong = np.flatnonzero(predicted != dataset.y_test)
    worst = wrong[np.argsort(of_truth[wrong], kind="stable")][: 2 * columns]
    figure.suptitle(f"the worst of {len(wrong)} mistakes: true → predicted, and the probability given to the truth")
    for axes in figure.subplots(max(1, -(-len(worst) // columns)), columns).flat:
        axes.axis("off")
    for axes, i in zip(figure.axes, worst, strict=False):
        axes.imshow(dataset.x_test[i], cmap="gray_r")
        axes.set_title(f"{names[dataset.y_test[i]]} → {names[predicted[i]]}  {of_truth[i]:.1g}", fontsize=9)


def got_against_expected(path: Path, panels: list[tuple[str, str, np.ndarray, np.ndarray]], columns: int = 6) -> None:
    """For each (title, what, got, expected) every element as a point; what is right lies on the diagonal."""
    rows = -(-len(panels) // columns)
    figure: Any = plt.figure(figsize=(2.7 * columns, 3.1 * rows + 0.8), layout="constrained")
    figure.suptitle(
        "Gradients as published: each element as it was got (up) against what is expected (across), in units of the "
        "largest expected.\nWhat is right lies on the line, and is blue.\n"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, what, got, expected) in zip(grid.flat, panels, strict=False):
        _against(axes, got / np.abs(expected).max(), expected / np.abs(expected).max())
        axes.set_title(title, fontsize=10, fontweight="bold", pad=30)
        axes.text(0.5, 1.03, textwrap.fill(what, 36), transform=axes.transAxes, ha="center", fontsize=8)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _against(axes: Any, got: np.ndarray, expected: np.ndarray) -> None:
    finite = np.isfinite(got)
    reach = 1.15 * max(1, np.abs(got[finite]).max(initial=0))
    axes.plot([-reach, reach], [-reach, reach], color="gray", linewidth=1)
    error = np.abs(got - expected)
    right = finite & (error <= 1e-6)
    for chosen, colour in ((right, "tab:blue"), (finite & ~right, "tab:red")):
        axes.plot(expected[chosen], got[chosen], ".", color=colour, markersize=6, alpha=0.7)
    if not finite.all():
        axes.plot(expected[~finite], np.full((~finite).sum(), -0.9 * reach), "x", color="tab:red")
        axes.text(0, -0.75 * reach, "NaN", ha="center", color="tab:red")
    elif error.max() < 0.1:  # too little to be seen
        axes.text(0.95, 0.05, f"off by up to {error.max():.1%}", transform=axes.transAxes, ha="right", fontsize=8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
