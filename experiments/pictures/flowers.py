"""The picture of the irises: how the network learned, and which flowers it mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from . import curves, save, style

SPECIES = ["setosa", "versicolor", "virginica"]
COLOURS = style.CLASSES[:3]
PETAL_LENGTH, PETAL_WIDTH = 2, 3  # columns of the features


class HeldOut(NamedTuple):
    """The flowers that one split held out: their features in cm, their species, and which were mistaken."""

    x: np.ndarray  # (M, 4)
    y: np.ndarray  # (M,)
    wrong: np.ndarray  # (M,), boolean


def draw(path: Path, histories: list[list[dict[str, float]]], held_out: list[HeldOut]) -> None:
    """Learning curves of all splits, and every flower that was ever held out, by the length and width of its petals."""
    figure: Any = plt.figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    _curves(left, histories)
    _flowers(right.subplots(), held_out)
    recognised = 1 - np.concatenate([split.wrong for split in held_out]).mean()
    figure.suptitle(
        f"irises: {recognised:.1%} of the flowers held out are recognised, over {len(held_out)} splits", fontsize=15
    )
    save(figure, path, 110)
    plt.close(figure)


def _curves(figure: Any, histories: list[list[dict[str, float]]]) -> None:
    epochs = [int(row["epoch"]) for row in histories[0]]
    both: Any = figure.subplots(2, 1, sharex=True)
    for axes, kind in zip(both, ("loss", "accuracy"), strict=True):
        for split, label, colour in (("train", "trained on", style.TRAINING), ("validation", "held out", style.OURS)):
            runs = [[row[f"{split}_{kind}"] for row in history] for history in histories]
            curves.plot(axes, epochs, runs, label, colour)
        axes.set_ylabel("cross-entropy" if kind == "loss" else kind)
    both[0].set(ylim=(0, None), xlabel="")
    both[1].legend(loc="lower right", title="a line a split, and their mean")


def _flowers(axes: Any, held_out: list[HeldOut]) -> None:
    """Flowers of equal petals are one dot; a ring's area is the share of their turns in which they were mistaken."""
    petals = np.concatenate([split.x for split in held_out])[:, [PETAL_LENGTH, PETAL_WIDTH]]
    species, wrong = (np.concatenate([getattr(split, name) for split in held_out]) for name in ("y", "wrong"))
    for k, (name, colour) in enumerate(zip(SPECIES, COLOURS, strict=True)):
        spots, index = np.unique(petals[species == k], axis=0, return_inverse=True)
        turns = np.bincount(index.ravel())
        mistaken = np.bincount(index.ravel(), weights=wrong[species == k]) / turns
        axes.plot(*spots.T, ".", color=colour, markersize=9, label=name)
        ever = mistaken > 0
        axes.scatter(*spots[ever].T, s=300 * mistaken[ever], facecolors="none", edgecolors=colour, linewidths=1.6)
    axes.set(xlabel="length of the petals, cm", ylabel="width of the petals, cm")
    axes.set_title("ringed: mistaken when held out; the largest rings, every time")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
