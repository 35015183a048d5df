"""Pictures of errors against the size of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import save, style


def draw(
    path: Path, function: str, curves: Mapping[str, Sequence[Any]], theory: Mapping[tuple[str, str], tuple[float, str]]
) -> None:
    """A panel for each dtype with a curve for each method; a dot is its best step, a dashed line what theory says."""
    figure: Any = plt.figure(figsize=(13, 6), layout="constrained")
    for axes, (dtype, of_dtype) in zip(figure.subplots(1, len(curves), sharey=True), curves.items(), strict=True):
        for i, curve in enumerate(of_dtype):
            step, formula = theory[curve.method, curve.dtype]
            colour = style.CLASSES[i]
            label = f"{curve.method}: {formula} = {step:.0e}"
            axes.loglog(curve.steps, curve.errors, color=colour, label=label)
            axes.plot(*curve.best(), "o", color=colour)
            axes.axvline(step, color=colour, linestyle=(3 * (i == 3), (3, 3)), linewidth=1)
        axes.set(xlabel="ε", title=dtype)
        axes.grid(alpha=0.3)
        axes.legend(title="method, and the best ε by theory", fontsize=9)
    figure.axes[0].set_ylabel("relative error of the slope")
    figure.axes[0].set_ylim(1e-17, 10)
    figure.suptitle(
        f"The slope of {function}: a smaller ε is better until rounding takes over (dots: measured, dashed: theory);\n"
        "the complex step subtracts nothing, and has no left arm"
    )
    save(figure, path, 110)
    plt.close(figure)
