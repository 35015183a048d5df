"""Pictures of what a classifier says of every point of the unit disc."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from . import animation, save, style

SIDE = 260
AXIS = np.linspace(-1, 1, SIDE, dtype=np.float32)
GRID = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)  # the square, row by row, from below
OUTSIDE = np.hypot(*GRID.T) > 1
COLOURS = [to_rgb(colour) for colour in style.CLASSES]


class Frame(NamedTuple):
    """A classifier after ``step`` steps: its accuracy on fresh points, and its probabilities on ``GRID``."""

    step: int
    accuracy: float
    probabilities: np.ndarray  # (SIDE², K)


def draw(
    path: Path, networks: list[tuple[tuple[np.ndarray, np.ndarray], Frame]], posterior: np.ndarray, bayes_rate: float
) -> None:
    """Each network with the points (x, y) that it was trained on, and beside them the posterior of the classes."""
    figure: Any = plt.figure(figsize=(5 * len(networks) + 5, 5.9), layout="constrained")
    *panels, last = figure.subplots(1, len(networks) + 1)
    for axes, ((x, y), frame) in zip(panels, networks, strict=True):
        _disc(axes, frame.probabilities)
        size = 14 if len(x) < 1000 else 1.5
        axes.scatter(*x.T, s=size, c=[COLOURS[k] for k in y], edgecolors="black", linewidths=0.3 if size > 2 else 0)
        axes.set_title(f"trained on these {len(x):,} points:\n{frame.accuracy:.1%} of fresh points right")
    _disc(last, posterior)
    last.set_title(f"the Bayes classifier, which knows the density:\n{bayes_rate:.1%}, the most there can be")
    figure.suptitle("Whose point is it? Colour: the class; paler: less certain", fontsize=15)
    save(figure, path, 110)
    plt.close(figure)


def animate(path: Path, frames: list[Frame], posterior: np.ndarray, bayes_rate: float) -> None:
    """The regions after each frame's steps, with the borders that the Bayes classifier draws."""
    figure: Any = plt.figure(figsize=(4.4, 4.7), layout="constrained")
    axes = figure.subplots()
    best = np.ma.array(posterior.argmax(axis=1), mask=OUTSIDE).reshape(SIDE, SIDE)
    borders = [best == k for k in range(posterior.shape[1])]
    with animation(figure, path, fps=6) as writer:
        for frame in frames:
            axes.clear()
            _disc(axes, frame.probabilities)
            for border in borders:
                axes.contour(AXIS, AXIS, border, levels=[0.5], colors="black", linewidths=0.7)
            right = f"step {frame.step:,}: {frame.accuracy:.1%} right"
            axes.set_title(f"{right}\nblack: the Bayes borders, {bayes_rate:.1%}")
            writer.grab_frame()
        for _ in range(8):  # the last one stays
            writer.grab_frame()
    plt.close(figure)


def _disc(axes: Any, probabilities: np.ndarray) -> None:
    """The colour of the likeliest class, the paler the nearer its probability is to chance; white outside the disc."""
    classes = probabilities.shape[1]
    colours = np.array(COLOURS)[probabilities.argmax(axis=1)]
    certain = (probabilities.max(axis=1, keepdims=True) * classes - 1) / (classes - 1)
    image = 1 - (1 - colours) * (0.15 + 0.5 * certain)
    image[OUTSIDE] = 1
    axes.imshow(image.reshape(SIDE, SIDE, 3), origin="lower", extent=(-1, 1, -1, 1), interpolation="nearest")
    axes.set_aspect("equal")
    axes.axis("off")
