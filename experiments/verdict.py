"""A derivation with a mistake, and the verdict.

The README's first picture: the code of a layer norm whose backward forgets a path, the line of the forward that the
checker names, what it says, and the wrong gradient beside the right one, element by element.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import jax
import numpy as np

from funcnet import gradcheck

from . import harness
from .examples.layer_norm import layer_norm_bwd, layer_norm_fwd
from .pictures import verdict

ROWS, COLUMNS = 16, 9  # of the input whose gradient is drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The seed draws the input whose gradient is shown."""


def gradients(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """dx as the derivation has it, and as autodiff of the forward has it: (N, D) each."""
    x, gain, dy = (
        jax.random.normal(key, shape)
        for key, shape in zip(
            jax.random.split(jax.random.key(seed), 3), ((ROWS, COLUMNS), (COLUMNS,), (ROWS, COLUMNS)), strict=True
        )
    )
    _, pullback = jax.vjp(lambda *arguments: layer_norm_fwd(*arguments)[0], x, gain)
    got, _ = layer_norm_bwd(layer_norm_fwd(x, gain)[1], dy)
    return np.asarray(got), np.asarray(pullback(dy)[0])


def main(config: Config, out: Path) -> None:
    report = gradcheck.check((layer_norm_fwd, layer_norm_bwd), name="layer_norm")
    print(report)
    (finding,) = report.findings
    lines, first = inspect.getsourcelines(layer_norm_fwd)
    backward, _ = inspect.getsourcelines(layer_norm_bwd)
    code = [line.rstrip() for line in (*lines, "", *backward)]
    got, expected = gradients(config.seed)
    said = [f"{report.name}: {report.verdict.upper()}", f"  d{finding.argument}: {finding.mistake}"]
    said += [f"  {finding.explanation}", f"    line {finding.line}: {finding.source}"]
    verdict.draw(out / "verdict.svg", code, (finding.line or 0) - first, said, got, expected)
    metrics = {"seed": config.seed, "report": report.to_dict()}
    harness.finish(out, "verdict", config, metrics, out / "verdict.svg")


if __name__ == "__main__":
    harness.run("verdict", main, Config, __doc__)
