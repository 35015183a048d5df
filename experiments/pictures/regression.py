"""Pictures of regressions: what was predicted against what is true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import save, style

LOSSES = ("mse", "mae", "huber")
BINS = 8  # of as many examples each, whose median is drawn


def draw(
    path: Path,
    points: Mapping[tuple[str, str], np.ndarray],
    models: Mapping[str, str],
    kinds: Mapping[str, float],
    figures: Mapping[str, Any],
) -> None:
    """A panel for every kind of data (down) and model (across): each pair (true, predicted), and medians."""
    figure: Any = plt.figure(figsize=(3.4 * len(models), 3.9 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), len(models), sharex=True, sharey=True, squeeze=False)
    true = np.concatenate([pairs[0] for pairs in points.values()])
    low, high = true.min() - 10, true.max() + 10
    for row, (kind, share) in zip(grid, kinds.items(), strict=True):
        for axes, (name, title) in zip(row, models.items(), strict=True):
            _panel(axes, points[kind, name], low, high)
            r2, bias = (figures[f"{kind}_{name}_{key}"] for key in ("r2", "bias"))
            axes.set_title(f"{title}\nR² {r2:.2f}, mean error {round(bias):+d}", fontsize=11)
        label = f"{share:.0%} of the training targets × 10" if share else "the data as they are"
        row[0].set_ylabel(f"{label}\npredicted", fontsize=11)
    for axes in grid[-1]:
        axes.set_xlabel("true progression after a year")
    grid[0, 0].legend(loc="upper left", fontsize=8)
    clean, spoiled = kinds
    falls = (f"{models[m]} error {figures[f'{clean}_{m}_r2']:.2f} → {figures[f'{spoiled}_{m}_r2']:.2f}" for m in LOSSES)
    figure.suptitle(f"What wild targets do to R² on the test set: {', '.join(falls)}", fontsize=14)
    save(figure, path, 100)
    plt.close(figure)


def _panel(axes: Any, points: np.ndarray, low: float, high: float) -> None:
    true, predicted = points
    inside = predicted <= high
    axes.plot([low, high], [low, high], color=style.AXIS, linewidth=1, label="predicted = true")
    axes.plot(true[inside], predicted[inside], ".", color=style.OURS, markersize=4, alpha=0.35)
    axes.plot(true[~inside], np.full((~inside).sum(), high - 4), "^", color=style.WRONG, markersize=3, alpha=0.5)
    order = np.array_split(np.argsort(true, kind="stable"), BINS)
    medians = [[np.median(values[part]) for part in order] for values in (true, predicted)]
    axes.plot(*medians, "o-", color=style.TRAINING, markersize=4, label=f"median of every {len(true) // BINS} patients")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.grid(alpha=0.3)
