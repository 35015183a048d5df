"""Pictures of gradients beside what they should be."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import save, style


def draw(path: Path, panels: list[tuple[str, str, np.ndarray, np.ndarray]], columns: int = 6) -> None:
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
    save(figure, path, 100)
    plt.close(figure)


def _against(axes: Any, got: np.ndarray, expected: np.ndarray) -> None:
    finite = np.isfinite(got)
    reach = 1.15 * max(1, np.abs(got[finite]).max(initial=0))
    axes.plot([-reach, reach], [-reach, reach], color=style.AXIS, linewidth=1)
    error = np.abs(got - expected)
    right = finite & (error <= 1e-6)
    for chosen, colour in ((right, style.OURS), (finite & ~right, style.WRONG)):
        axes.plot(expected[chosen], got[chosen], ".", color=colour, markersize=6, alpha=0.7)
    if not finite.all():
        axes.plot(expected[~finite], np.full((~finite).sum(), -0.9 * reach), "x", color=style.WRONG)
        axes.text(0, -0.75 * reach, "NaN", ha="center", color=style.WRONG)
    elif error.max() < 0.1:  # too little to be seen
        axes.text(0.95, 0.05, f"off by up to {error.max():.1%}", transform=axes.transAxes, ha="right", fontsize=8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
