"""Pictures of a computation graph: a box for each node, with its value and its gradient."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from . import animation, save, style

WIDTH, HEIGHT = 0.72, 0.74  # of a box; rows are 1 apart, columns 1 at least
IDLE = "0.55"  # an edge over which nothing flows now
LEAF, INNER, LAST = "#dbe9f6", style.BOX, "#fde0c5"


def draw(
    path: Path,
    title: str,
    steps: Sequence[Any],
    values: Mapping[str, float],
    gradients: Mapping[str, float],
    partials: Mapping[tuple[str, str], float] | None = None,
) -> None:
    """Nodes where ``step.at`` says, column and row; ``partials`` of an edge (from, to) are written beside it."""
    figure = _figure(steps)
    _plot(figure.subplots(), title, steps, values, gradients, partials)
    save(figure, path)
    plt.close(figure)


def animate(
    path: Path, title: str, steps: Sequence[Any], values: Mapping[str, float], gradients: Mapping[str, float]
) -> None:
    """Values come column by column from the left, then gradients from the right: first those of a node's users."""
    columns = sorted({step.at[0] for step in steps})
    figure = _figure(steps)
    axes = figure.subplots()

    def known(of: Mapping[str, float], chosen: Sequence[float]) -> dict[str, float]:
        return {step.name: of[step.name] for step in steps if step.at[0] in chosen}

    with animation(figure, path, fps=2, dpi=60) as writer:
        forward: list[Any] = [(columns[: i + 1], [], columns[i], False) for i in range(len(columns))]
        back = [(columns, columns[i:], columns[i], True) for i in reversed(range(len(columns)))]
        for seen, returned, column, backward in [*forward, *back]:
            axes.clear()
            moving = _moving(steps, column, backward)
            colour = style.GRADIENT if backward else style.OURS
            _plot(axes, title, steps, known(values, seen), known(gradients, returned), None, moving, colour)
            writer.grab_frame()
            figure.set_layout_engine("none")  # as the first frame has it: to lay out each takes half of the time
        for _ in range(5):  # the last one stays
            writer.grab_frame()
    plt.close(figure)


def _moving(steps: Sequence[Any], column: float, backward: bool) -> set[tuple[str, str]]:
    """The edges over which something flows to a column: from its nodes' users, or from their inputs."""
    places = {step.name: step.at[0] for step in steps}
    edges = [(name, step.name) for step in steps for name in step.inputs]
    return {edge for edge in edges if places[edge[not backward]] == column}


def _figure(steps: Sequence[Any]) -> Any:
    columns, rows = (max(step.at[axis] for step in steps) for axis in (0, 1))
    return plt.figure(figsize=(1.65 * (columns + 1), 1.25 * (rows + 1) + 0.9), layout="constrained")


def _plot(
    axes: Any,
    title: str,
    steps: Sequence[Any],
    values: Mapping[str, float],
    gradients: Mapping[str, float],
    partials: Mapping[tuple[str, str], float] | None,
    moving: Collection[tuple[str, str]] = (),
    colour: str = "",
) -> None:
    """Only numbers that are given are written; the edges of ``moving`` have a colour."""
    places = {step.name: step.at for step in steps}
    for step in steps:
        for name in step.inputs:
            _edge(axes, places[name], step.at, colour if (name, step.name) in moving else IDLE)
            if partials:
                (x0, y0), (x1, y1) = places[name], step.at
                note = f"∂ = {partials[name, step.name]:.4g}"
                middle = ((x0 + x1) / 2, (y0 + y1) / 2)
                axes.text(*middle, note, ha="center", va="center", fontsize=9, backgroundcolor="white", zorder=2)
    for step in steps:
        kind = LAST if step is steps[-1] else INNER if step.operation else LEAF
        _box(axes, step, values.get(step.name), gradients.get(step.name), kind)
    columns, rows = (max(step.at[axis] for step in steps) for axis in (0, 1))
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(rows + 0.55, -0.55))
    axes.axis("off")
    axes.set_title(f"{title}\nBlack: a node and its value; red: its gradient; blue: the leaves.", fontsize=12)


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """From the right of a box to the left of another; one that passes over other columns bends out of their way."""
    far = end[0] - start[0] > 2
    way = "<-" if colour == style.GRADIENT else "->"
    arrow: dict[str, Any] = {"arrowstyle": way, "color": colour, "connectionstyle": f"arc3,rad={-0.32 if far else 0}"}
    arrow |= {} if colour == IDLE else {"linewidth": 2.5}
    tail = (start[0], start[1] - HEIGHT / 2) if far else (start[0] + WIDTH / 2, start[1])
    head = (end[0], end[1] - HEIGHT / 2) if far else (end[0] - WIDTH / 2, end[1])
    axes.annotate("", head, tail, arrowprops=arrow, zorder=1)


def _box(axes: Any, step: Any, value: float | None, gradient: float | None, colour: str) -> None:
    x, y = step.at
    corner, shape = (x - WIDTH / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=shape, facecolor=colour, edgecolor=style.RIM))
    axes.text(x, y - 0.2, f"${step.name}$", ha="center", va="center", fontsize=13)
    if value is not None:
        axes.text(x, y + 0.05, f"{value:.4g}", ha="center", va="center", fontsize=10)
    if gradient is not None:
        axes.text(x, y + 0.25, f"{gradient:+.4g}", ha="center", va="center", fontsize=10, color=style.GRADIENT)
