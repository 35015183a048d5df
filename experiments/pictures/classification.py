"""Pictures of a trained classifier of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import confusion_matrix

from funcnet.data import Dataset

from . import save

CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]


def class_names(name: str) -> list[str]:
    return CLOTHES if name == "fashion-mnist" else [str(k) for k in range(10)]


def draw(path: Path, name: str, history: list[dict[str, float]], dataset: Dataset, probabilities: np.ndarray) -> None:
    """Learning curves, the confusion matrix and the images of the test set with the largest losses."""
    figure: Any = plt.figure(figsize=(13, 8.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.6, 1])
    curves, matrix = upper.subfigures(1, 2, width_ratios=[1.1, 1])
    draw_curves(curves, history)
    draw_confusion(matrix, class_names(name), dataset.y_test, probabilities.argmax(axis=1))
    draw_mistakes(lower, class_names(name), dataset, probabilities)
    accuracy = history[-1]["validation_accuracy"]
    figure.suptitle(f"{name}: test accuracy {accuracy:.2%} after {len(history)} epochs", fontsize=15)
    save(figure, path, 110)
    plt.close(figure)


def draw_curves(figure: Any, history: list[dict[str, float]]) -> None:
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


def draw_confusion(figure: Any, names: list[str], labels: np.ndarray, predicted: np.ndarray) -> None:
    axes = figure.subplots()
    counts = confusion_matrix(labels, predicted, labels=range(len(names)))
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()))
    for i, j in np.ndindex(counts.shape):
        if counts[i, j]:
            dark = wrong[i, j] > 0.6 * wrong.max()
            axes.text(j, i, counts[i, j], ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 1 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix of the test set; mistakes are red")


def draw_mistakes(
    figure: Any, names: list[str], dataset: Dataset, probabilities: np.ndarray, columns: int = 10
) -> None:
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
