"""Pictures of many ways to train beside the first of them, the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from . import save, style


class Bar(NamedTuple):
    """A way to train: the test accuracies of its seeds, in percent, and a curve of validation accuracies in [0, 1]."""

    name: str
    group: str
    accuracies: np.ndarray
    curve: list[float]


def draw(path: Path, title: str, bars: list[Bar]) -> None:
    """Left, the accuracies as dots, with mean and spread; right, learning curves, a panel for each group."""
    groups = list(dict.fromkeys(bar.group for bar in bars[1:]))
    colours = {group: style.CLASSES[i] for i, group in enumerate(groups)} | {bars[0].group: "black"}
    figure: Any = plt.figure(figsize=(14, 7.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.15])
    _dots(left.subplots(), bars, colours)
    columns = min(2, len(groups))
    grid = right.subplots(-(-len(groups) // columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes, group in zip(grid.flat, groups, strict=False):
        _curves(axes, bars[0], [bar for bar in bars if bar.group == group])
        axes.set_title(group, color=colours[group])
    for axes in grid.flat[len(groups) :]:
        axes.axis("off")
    right.supxlabel("epoch")
    right.supylabel("error on what was held out, % (log scale)")
    gains = {bar.name: bar.accuracies.mean() - bars[0].accuracies.mean() for bar in bars}
    name = max(gains, key=lambda name: gains[name])
    figure.suptitle(
        f"{title}: of {len(bars) - 1} changes to {bars[0].name}, “{name}” gains most: {gains[name]:+.2f} points"
    )
    save(figure, path, 110)
    plt.close(figure)


def _dots(axes: Any, bars: list[Bar], colours: dict[str, str]) -> None:
    rows = np.arange(len(bars))[::-1]
    baseline = bars[0].accuracies
    deviation = baseline.std(ddof=1) if len(baseline) > 1 else 0
    axes.axvspan(baseline.mean() - deviation, baseline.mean() + deviation, color="0.9")
    axes.axvline(baseline.mean(), color="0.6", linewidth=1)
    for row, bar in zip(rows, bars, strict=True):
        colour, seeds = colours[bar.group], len(bar.accuracies)
        axes.plot(bar.accuracies, [row] * seeds, ".", color=colour, alpha=0.4)
        error = bar.accuracies.std(ddof=1) if seeds > 1 else None
        axes.errorbar(bar.accuracies.mean(), row, xerr=error, fmt="o", color=colour, capsize=3)
    axes.set_yticks(rows, [bar.name for bar in bars])
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_color(colours[bar.group])
    axes.set_xlabel("test accuracy, %: each seed, mean ± standard deviation")
    axes.set_title("the band is the baseline", fontsize=10)
    axes.grid(alpha=0.3, axis="x")


def _curves(axes: Any, baseline: Bar, bars: list[Bar]) -> None:
    for bar, look in [(baseline, {"color": "black", "linewidth": 2.5, "alpha": 0.4}), *((bar, {}) for bar in bars)]:
        error = 100 * (1 - np.array(bar.curve))
        axes.plot(range(1, len(error) + 1), np.maximum(error, 1e-2), label=bar.name, **look)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
