"""Learning curves of several seeds: a thin line for each, a thick one for their mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import save, style


def plot(axes: Any, epochs: Sequence[int], runs: Sequence[Sequence[float]], label: str, colour: str) -> None:
    """Each of ``runs`` holds a figure for every one of ``epochs``."""
    if len(runs) > 1:
        for run in runs:
            axes.plot(epochs, run, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(epochs, np.mean(runs, axis=0), color=colour, linewidth=2.2, label=label)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


def draw(path: Path, panels: list[tuple[str, list[list[float]], float]]) -> None:
    """A panel for each (title, test accuracies after each epoch of every seed, what was published)."""
    figure: Any = plt.figure(figsize=(6.5 * len(panels), 5), layout="constrained")
    for axes, (title, runs, published) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        plot(axes, range(1, len(runs[0]) + 1), runs, "test accuracy here: mean, and each seed", style.OURS)
        axes.axhline(published, color=style.PUBLISHED, linestyle="--", label=f"published: {published:.2%}")
        best = np.mean([max(run) for run in runs])
        axes.set_title(f"{title}\nbest epoch here: {best:.2%}, mean of {len(runs)}", fontsize=11)
        axes.legend(loc="lower right")
    worst = min(max(run) for _, runs, _ in panels for run in runs)
    figure.axes[0].set_ylim(min(0.9, worst - 0.02), None)  # the first epochs alone would take half the height
    figure.axes[0].set_ylabel("accuracy on the test set")
    figure.suptitle("Two networks of Nielsen's book, trained again with gradients by hand", fontsize=14)
    save(figure, path, 110)
    plt.close(figure)
