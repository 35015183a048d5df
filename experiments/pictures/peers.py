"""A picture of funcnet beside its peers: a row of bars for each network."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from . import save, style

COLOURS = {"funcnet": style.OURS, "products alone": style.BOUND}


def draw(path: Path, rows: dict[str, dict[str, float]], unit: str) -> None:
    """``rows``: a title, and each peer's value in ``unit``; the smallest stands at the bottom."""
    counts = [max(len(values), 1) for values in rows.values()]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(8, 0.27 * sum(counts) + 0.55 * len(rows) + 0.4), layout="constrained", squeeze=False,
        gridspec_kw={"height_ratios": counts},
    )  # fmt: skip
    for ax, (title, values) in zip(axes[:, 0], rows.items(), strict=True):
        order = sorted(values, key=values.__getitem__)
        colours = [COLOURS.get(peer.partition(",")[0], style.PEER) for peer in order]
        bars = ax.barh(order, [values[peer] for peer in order], color=colours)
        ax.bar_label(bars, [f"{values[peer]:.3g}" for peer in order], padding=3, fontsize=9)
        ax.set_xlim(0, 1.12 * max(values.values(), default=1.0))
        ax.set_title(title, loc="left", fontsize=10)
        ax.tick_params(labelsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(unit)
    save(figure, path, 120)
    plt.close(figure)
