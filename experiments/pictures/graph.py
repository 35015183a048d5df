"""Pictures of a computation graph: a box for each node, with its value and its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from . import save

WIDTH, HEIGHT = 0.72, 0.74  # of a box; rows are 1 apart, columns 1 at least
LEAF, INNER, LAST = "#dbe9f6", "#f4f4f4", "#fde0c5"


def draw(
    path: Path,
    title: str,
    steps: Sequence[Any],
    values: Mapping[str, float],
    gradients: Mapping[str, float],
    partials: Mapping[tuple[str, str], float] | None = None,
) -> None:
    """Nodes where ``step.at`` says, column and row; ``partials`` of an edge (from, to) are written beside it."""
    columns, rows = (max(step.at[axis] for step in steps) for axis in (0, 1))
    figure: Any = plt.figure(figsize=(1.65 * (columns + 1), 1.25 * (rows + 1) + 0.9), layout="constrained")
    axes = figure.subplots()
    places = {step.name: step.at for step in steps}
    for step in steps:
        for name in step.inputs:
            _edge(axes, places[name], step.at)
            if partials:
                (x0, y0), (x1, y1) = places[name], step.at
                note = f"∂ = {partials[name, step.name]:.4g}"
                middle = ((x0 + x1) / 2, (y0 + y1) / 2)
                axes.text(*middle, note, ha="center", va="center", fontsize=9, backgroundcolor="white", zorder=2)
    for step in steps:
        colour = LAST if step is steps[-1] else INNER if step.operation else LEAF
        _box(axes, step, values[step.name], gradients[step.name], colour)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(rows + 0.55, -0.55))
    axes.axis("off")
    axes.set_title(f"{title}\nBlack: a node and its value; red: its gradient; blue: the leaves.", fontsize=12)
    save(figure, path)
    plt.close(figure)


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the right of a box to the left of another; one that passes over other columns bends out of their way."""
    far = end[0] - start[0] > 2
    arrow = {"arrowstyle": "->", "color": "0.55", "connectionstyle": f"arc3,rad={-0.32 if far else 0}"}
    tail = (start[0], start[1] - HEIGHT / 2) if far else (start[0] + WIDTH / 2, start[1])
    head = (end[0], end[1] - HEIGHT / 2) if far else (end[0] - WIDTH / 2, end[1])
    axes.annotate("", head, tail, arrowprops=arrow, zorder=1)


def _box(axes: Any, step: Any, value: float, gradient: float, colour: str) -> None:
    x, y = step.at
    corner, style = (x - WIDTH / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, facecolor=colour, edgecolor="0.4"))
    axes.text(x, y - 0.2, f"${step.name}$", ha="center", va="center", fontsize=13)
    axes.text(x, y + 0.05, f"{value:.4g}", ha="center", va="center", fontsize=10)
    axes.text(x, y + 0.25, f"{gradient:+.4g}", ha="center", va="center", fontsize=10, color="tab:red")
