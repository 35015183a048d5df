"""Pictures of networks from scratch: the learning curves of one, and the weights of the first neurons of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import curves, save, style


def draw(path: Path, runs: list[list[float]], noted: float, weights: np.ndarray, accuracy: float) -> None:
    """``runs``: test accuracies after each epoch, of every seed. ``weights``: (neurons, H, W), of the other network."""
    figure: Any = plt.figure(figsize=(13, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    axes: Any = left.subplots()
    curves.plot(axes, range(1, len(runs[0]) + 1), runs, f"mean, and each of {len(runs)} seeds", style.OURS)
    axes.axhline(noted, color=style.PUBLISHED, linestyle="--", label=f"the note: about {noted:.0%}")
    axes.set(ylabel="accuracy on the test set", ylim=(0, 1))
    axes.legend(loc="lower right")
    last, best = np.mean([run[-1] for run in runs]), np.mean([max(run) for run in runs])
    left.suptitle(f"note 004, all images in each step:\n{last:.1%} at the last step, {best:.1%} at the best (means)")

    reach = np.abs(weights).max()
    rows = -(-len(weights) // 5)
    grid = right.subplots(rows, min(5, len(weights)), squeeze=False)
    for panel in grid.flat:
        panel.axis("off")
    for panel, image in zip(grid.flat, weights, strict=False):
        shown = panel.imshow(image, cmap=style.SIGNED, vmin=-reach, vmax=reach)
    right.colorbar(
        shown, ax=grid, location="bottom", shrink=0.6, label="weight of the pixel: red excites, blue inhibits"
    )
    right.suptitle(
        f"note 001, neuron by neuron: the weights of its hidden neurons;\n{accuracy:.1%} of the test set right"
    )
    save(figure, path, 110)
    plt.close(figure)
