"""Pictures of times, as bars on a log scale."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import save, style


def draw(path: Path, title: str, rows: list[tuple[str, list[float]]]) -> None:
    """A bar to the median of each row's times in µs, and a line from the fastest to the slowest."""
    figure: Any = plt.figure(figsize=(11, 0.75 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    medians = [statistics.median(times) for _, times in rows]
    for y, ((_, times), median) in enumerate(zip(rows, medians, strict=True)):
        axes.barh(y, median, color=style.OURS)
        axes.plot([min(times), max(times)], [y, y], color=style.AXIS, linewidth=1.5)
        factor = f", {medians[0] / median:,.0f} times faster" if y else ""
        shown = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
        axes.text(1.15 * max(times), y, f"{shown} µs{factor}", va="center", fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(min(medians) / 3, 20 * max(medians))
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("µs a sample (log scale): median, and the line from fastest to slowest")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title(title)
    save(figure, path, 110)
    plt.close(figure)
