"""Pictures of a loss over two weights, and of descent upon it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import animation, save, style

REACH = 4.0  # of both axes
SIDE = 160

Paths = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Of each way its weights (steps + 1, 2), and their losses (steps + 1,)."""


def draw(path: Path, height: Callable[[Any], Any], paths: Paths) -> None:
    """``height``: weights (M, 2) to losses (M,)."""
    figure, axes = _surface(height)
    _trails(axes, paths, max(len(ws) for ws, _ in paths.values()))
    save(figure, path)
    plt.close(figure)


def animate(path: Path, height: Callable[[Any], Any], paths: Paths, frames: int) -> None:
    """The trails as they grow; the first steps, in which most happens, have the most frames."""
    figure, axes = _surface(height)
    most = max(len(ws) for ws, _ in paths.values())
    with animation(figure, path, fps=8, dpi=75) as writer:
        for shown in dict.fromkeys(np.geomspace(1, most, frames).round().astype(int)):
            drawn = _trails(axes, paths, shown)
            axes.set_title(f"after {shown - 1} steps", loc="left")
            writer.grab_frame()
            for line in drawn:
                line.remove()
        _trails(axes, paths, most)
        for _ in range(12):  # the last one stays
            writer.grab_frame()
    plt.close(figure)


def _surface(height: Callable[[Any], Any]) -> tuple[Any, Any]:
    axis = np.linspace(-REACH, REACH, SIDE, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    losses = np.asarray(height(grid.reshape(-1, 2))).reshape(SIDE, SIDE)
    figure: Any = plt.figure(figsize=(7.2, 6), layout="constrained")
    axes = figure.subplots()
    levels = np.geomspace(losses.min(), losses.max(), 16)
    shades = axes.contourf(axis, axis, np.log10(losses), levels=np.log10(levels), cmap="Greys", alpha=0.8)
    bar = figure.colorbar(shades, ax=axes, label="loss (log scale)")
    marks = np.log10(levels[::3])
    bar.set_ticks(marks, labels=[f"{10**mark:.2g}" for mark in marks])
    axes.set(xlabel="w₁", ylabel="w₂", xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
    return figure, axes


def _trails(axes: Any, paths: Paths, shown: int) -> list[Any]:
    """The first ``shown`` points of each way; what was drawn, to be removed again."""
    drawn = []
    for (name, (ws, losses)), colour in zip(paths.items(), style.CLASSES, strict=False):
        trail, last = ws[:shown], min(shown, len(ws)) - 1
        drawn += axes.plot(*trail.T, ".-", color=colour, markersize=4, linewidth=1.2)
        drawn += axes.plot(*trail[-1], "o", color=colour, markersize=9, markeredgecolor="white",
                           label=f"{name}: {losses[last]:.3f}")  # fmt: skip
    drawn.append(axes.legend(loc="lower left", bbox_to_anchor=(0, 1.05), ncols=3, frameon=False))
    return drawn
