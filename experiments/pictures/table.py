"""A picture of what was learned from a table: curves, and the predictions beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from funcnet.models import Spec

from . import save, style
from .classification import draw_confusion


def draw(
    path: Path,
    name: str,
    spec: Spec,
    history: list[dict[str, float]],
    truth: np.ndarray,
    given: np.ndarray,
    figures: Mapping[str, Any],
) -> None:
    """Left, the loss after each epoch; right, a confusion matrix, or each prediction against the truth."""
    figure: Any = plt.figure(figsize=(12, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
    _curves(left.subplots(), history, "cross-entropy" if spec.classes else "mean squared error, standardised")
    if spec.classes:
        draw_confusion(right, list(spec.classes), truth, given.argmax(axis=1))
        score = f"accuracy {figures['test_accuracy']:.2%}; a linear model {figures['linear_accuracy']:.2%}"
    else:
        _scatter(right.subplots(), str(spec.target), truth, given)
        score = f"R² {figures['test_r2']:.3f}; a linear model {figures['linear_r2']:.3f}"
    figure.suptitle(f"{name}: {spec.target} from {spec.in_shape[0]} features, {score}", fontsize=14)
    save(figure, path, 110)
    plt.close(figure)


def _curves(axes: Any, history: list[dict[str, float]], label: str) -> None:
    epochs = [row["epoch"] for row in history]
    for split, title in (("train", "training"), ("validation", "rows that decide when to stop")):
        axes.plot(epochs, [row[f"{split}_loss"] for row in history], label=title, marker="." if len(epochs) < 9 else "")
    axes.set(xlabel="epoch", ylabel=f"{label} (log scale)", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="evaluated on")


def _scatter(axes: Any, target: str, truth: np.ndarray, given: np.ndarray) -> None:
    ends = [min(truth.min(), given.min()), max(truth.max(), given.max())]
    axes.plot(ends, ends, color=style.AXIS, linewidth=1, label="predicted = true")
    axes.plot(truth, given, ".", color=style.OURS, markersize=5, alpha=0.4, label="a row that was held out")
    axes.set(xlabel=f"true {target}", ylabel=f"predicted {target}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
