"""Pictures of a model of text: how it learned beside the baselines, and text with the surprise of each byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import save, style

COLUMNS, LINES = 68, 22
MOST = 8.0  # bits: what a byte costs that is not modelled at all


def draw(
    path: Path,
    curve: list[tuple[int, float]],
    learned: float,
    baselines: Mapping[str, float],
    text: np.ndarray,
    surprise: np.ndarray,
) -> None:
    """Left, bits per byte by steps, and each baseline as a line; right, ``text`` coloured by ``surprise``."""
    figure: Any = plt.figure(figsize=(15, 6.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _curve(left, curve, learned, baselines)
    shades = _text(right, text, surprise)
    figure.colorbar(shades, ax=right, label="bits that this byte cost: −log₂ p", fraction=0.03, pad=0.01)
    beaten = [name for name, value in sorted(baselines.items(), key=lambda item: item[1]) if value > learned]
    says = f"fewer than {beaten[0]} with {baselines[beaten[0]]:.3f}" if beaten else "no fewer than any baseline"
    figure.suptitle(f"A GPT with gradients by hand: {learned:.3f} bits per byte, {says}", fontsize=14)
    save(figure, path, 110)
    plt.close(figure)


def _curve(axes: Any, curve: list[tuple[int, float]], learned: float, baselines: Mapping[str, float]) -> None:
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, "o-", color=style.OURS, markersize=4, label="GPT, on windows of the held-out part")
    axes.plot(steps[-1], learned, "*", color=style.OURS, markersize=15, label=f"GPT, on all of it: {learned:.3f}")
    for name, value in baselines.items():
        axes.axhline(value, color="0.4", linestyle="--", linewidth=1)
        axes.text(1.27 * steps[-1], value, f"{name} {value:.2f}", ha="right", va="bottom", fontsize=9, color="0.25")
    axes.set_xlim(-0.03 * steps[-1], 1.28 * steps[-1])  # room for the names of the baselines, beside the star
    axes.set_yscale("log")
    axes.set_yticks(ticks := [0.5, 1, 1.5, 2, 3, 4, 6, 8], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0.9 * min(learned, *baselines.values()), 8.6)
    axes.set_xlabel("steps")
    axes.set_ylabel("bits per byte of held-out text (log scale)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.92))


def _text(axes: Any, text: np.ndarray, surprise: np.ndarray) -> Any:
    """The bytes on a grid: a line ends at its end or at the last column."""
    grid = np.full((LINES, COLUMNS), np.nan)
    row = column = 0
    for byte, cost in zip(text.tolist(), surprise.tolist(), strict=False):
        if column == COLUMNS:
            row, column = row + 1, 0
        if row == LINES:
            break
        grid[row, column] = cost
        end = byte == ord("\n")
        axes.text(
            column, row, "↵" if end else chr(byte) if 32 <= byte < 127 else "·", ha="center", va="center",
            family="monospace", fontsize=8, color="0.5" if end else "black",
        )  # fmt: skip
        row, column = (row + 1, 0) if end else (row, column + 1)
    shades = axes.imshow(grid, cmap="YlOrRd", vmin=0, vmax=MOST, aspect="auto", alpha=0.75)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("The start of the held-out text, each byte coloured by what it cost", fontsize=11)
    return shades
