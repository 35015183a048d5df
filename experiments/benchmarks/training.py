"""Training speed beside other frameworks.

Whole epochs of plain gradient descent, on data of MNIST's shapes that are loaded already. Every peer has a process of
its own, begins from the same weights, and sees the same batches in the same order; it is used as its documentation
teaches.
First their losses are compared after 20 steps. Then they take turns, an epoch each, and medians are compared.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from rich.console import Console

from .. import harness
from ..pictures import peers
from .peers import turns
from .peers.networks import MLP, NETWORKS, OURS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """Which networks, which peers, and how long."""

    networks: tuple[int, ...] = tuple(range(len(NETWORKS)))
    """Numbers of networks: 0 to 3 perceptrons, 4 LeNet-5, 5 a ResNet, 6 an LSTM, 7 a GPT."""
    peers: tuple[str, ...] = ()
    """Names of peers beside funcnet itself; if not given, all that are installed."""
    rounds: int = 9
    """Timed epochs of each; two parts of epochs come first and are not timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, rounds=self.rounds)
        if not all(0 <= number < len(NETWORKS) for number in self.networks):
            raise harness.InputError(f"--networks are numbers from 0 to {len(NETWORKS) - 1}; got {self.networks}")
        if unknown := set(self.peers) - {*MLP, *OURS}:
            raise harness.InputError(f"--peers are of {', '.join((*OURS[1:], *MLP))}; got {', '.join(unknown)}")


def main(config: Config, out: Path) -> None:
    names = [list(NETWORKS)[number] for number in config.networks]
    if config.quick and config.networks == Config.networks:
        names = [list(NETWORKS)[number] for number in (0, 4)]
    start, found = time.perf_counter(), {}
    for name in names:
        found[name] = turns.measured(name, config.rounds, config.quick, config.peers)
        Console().print(turns.table_of(name, found[name]))
    rows = {name: turns.shares(figures) for name, figures in found.items()}
    peers.draw(out / "training.png", rows, "samples a second, funcnet = 1")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, **turns.machine(), "networks": found}
    harness.finish(out, "benchmarks.training", config, metrics, out / "training.png")


if __name__ == "__main__":
    harness.run("benchmarks.training", main, Config, __doc__)
