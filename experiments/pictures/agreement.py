"""A picture of how closely numbers agree with what was published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..examples.worked import Row
from . import save, style

EXACT = 1e-18  # where a difference of 0 is drawn, on a logarithmic axis
FAR = 10.0  # where one is drawn that is larger, or is no number


def draw(path: Path, rows: Sequence[Row]) -> None:
    """For each row a point at its difference, and a line from there to what is allowed."""
    figure: Any = plt.figure(figsize=(11, 1.6 + 0.235 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        x, colour = np.clip(row.difference, EXACT, FAR), style.OURS if row.agrees else style.WRONG
        if row.allowed:
            axes.plot([x, row.allowed], [y, y], color="0.85", linewidth=1.2, zorder=1)
            axes.plot(row.allowed, y, "|", color="0.35", markersize=9, markeredgewidth=1.6)
        axes.plot(x, y, "o" if row.difference else "D", color=colour, markersize=5)
    axes.set_yticks(range(len(rows)), [f"{row.what}   {row.item}" for row in rows], fontsize=8)
    axes.set(xscale="log", xlim=(EXACT / 3, FAR * 3), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel("difference")
    axes.grid(axis="x", alpha=0.3)
    ticks = [EXACT, *10.0 ** np.arange(-16, 1, 2)]
    axes.set_xticks(ticks, ["exact", *(f"$10^{{{e}}}$" for e in range(-16, 1, 2))])
    axes.minorticks_off()
    for name, marker, colour in (("exact", "D", style.OURS), ("a difference", "o", style.OURS),
                                 ("allowed, by the digits that were published", "|", "0.35")):  # fmt: skip
        axes.plot([], [], marker, color=colour, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, 1.05), ncols=3, frameon=False)
    agree = sum(row.agrees for row in rows)
    figure.suptitle(f"{agree} of {len(rows)} worked examples agree with what was published", fontsize=14)
    save(figure, path, 100)
    plt.close(figure)
