"""Learning curves of several seeds: a thin line for each, a thick one for their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def plot(axes: Any, epochs: Sequence[int], runs: Sequence[Sequence[float]], label: str, colour: str) -> None:
    """Each of ``runs`` holds a figure for every one of ``epochs``."""
    if len(runs) > 1:
        for run in runs:
            axes.plot(epochs, run, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(epochs, np.mean(runs, axis=0), color=colour, linewidth=2.2, label=label)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
