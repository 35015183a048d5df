"""The picture of a verdict: the derivation, the line that is named, and the gradient beside the right one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from . import save, style

PALE = "#fdecea"  # behind the named line
HEIGHT = 1.35  # of a line of code, in lines


def draw(
    path: Path, code: Sequence[str], named: int, said: Sequence[str], got: np.ndarray, expected: np.ndarray
) -> None:
    """``named`` is a line of ``code``, counted from 0; ``said`` is what the checker says of it."""
    figure: Any = plt.figure(figsize=(11.5, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.55, 1])
    _text(left, code, named, said)
    _against(right, got, expected)
    save(figure, path)
    plt.close(figure)


def _text(axes: Any, code: Sequence[str], named: int, said: Sequence[str]) -> None:
    look = {"family": "monospace", "fontsize": 9.5, "va": "center"}
    axes.axhspan(-(named - 0.5) * HEIGHT, -(named + 0.5) * HEIGHT, color=PALE)
    for i, line in enumerate(code):
        colour = style.GRADIENT if i == named else style.FORWARD
        axes.text(0.01, -i * HEIGHT, line, color=colour, weight="bold" if i == named else "normal", **look)
    below = -(len(code) + 0.9) * HEIGHT
    for i, line in enumerate(said):
        colour = style.GRADIENT if i < 2 else style.PUBLISHED
        axes.text(0.01, below - i * HEIGHT, line, color=colour, weight="bold" if i < 2 else "normal", **look)
    axes.axhline(below + HEIGHT, color=style.RIM, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(below - len(said) * HEIGHT, HEIGHT))
    axes.axis("off")
    axes.set_title("funcnet.gradcheck names the mistake, and the line", loc="left", weight="bold")


def _against(axes: Any, got: np.ndarray, expected: np.ndarray) -> None:
    reach = 1.08 * max(np.abs(got).max(), np.abs(expected).max())
    axes.plot([-reach, reach], [-reach, reach], color=style.AXIS, linewidth=1)
    axes.annotate("what is right lies here", (0.55 * reach, 0.55 * reach), (0.02 * reach, 0.88 * reach),
                  color=style.AXIS, arrowprops={"arrowstyle": "-", "color": style.AXIS})  # fmt: skip
    axes.plot(expected.ravel(), got.ravel(), ".", color=style.WRONG, markersize=7)
    axes.set(xlabel="expected", ylabel="got", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_title("dx, each element", loc="left", weight="bold")
    axes.grid()
