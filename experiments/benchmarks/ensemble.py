"""8 and 32 networks trained at once.

They are perceptrons, on the same batches. funcnet maps its epoch over their parameters with ``jax.vmap``; beside it
the same networks one after another, and PyTorch's two ways. Each peer is measured as in ``benchmarks.training``: a
process of its own, equal weights and batches, losses compared after 20 steps, then an epoch each in turns.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from rich.console import Console

from .. import harness
from ..pictures import peers
from .peers import turns
from .peers.networks import ENSEMBLES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """How long."""

    rounds: int = 9
    """Timed epochs of each; two parts of epochs come first and are not timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, rounds=self.rounds)


def main(config: Config, out: Path) -> None:
    start, found = time.perf_counter(), {}
    for name in list(ENSEMBLES)[: 1 if config.quick else None]:
        found[name] = turns.measured(name, config.rounds, config.quick)
        Console().print(turns.table_of(name, found[name]))
    rows = {name: turns.shares(figures) for name, figures in found.items()}
    peers.draw(out / "ensemble.png", rows, "samples a second, funcnet = 1")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, **turns.machine(), "networks": found}
    harness.finish(out, "benchmarks.ensemble", config, metrics, out / "ensemble.png")


if __name__ == "__main__":
    harness.run("benchmarks.ensemble", main, Config, __doc__)
