"""Training speed beside other frameworks.

Whole epochs of plain gradient descent, on data of MNIST's shapes that are loaded already. Every peer has a process of
its own, begins from the same weights, and sees the same batches in the same order; it is used as its documentation
teaches.
First their losses are compared after 20 steps. Then they take turns, an epoch each, and medians are compared.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .. import harness
from .peers.work import MLP, NETWORKS, OURS

LIMIT = "products alone"
PACKAGES = ("jax", "numpy", "torch", "flax", "equinox", "keras", "scikit-learn", "optax")
APART = 1e-4
"""How far a peer's loss may be from ours after equal steps from equal weights, relative to ours."""
REST = 0.3
"""Seconds between turns: a framework's threads may spin for a while after their work."""


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


class Process:
    """A peer in its process, with its second line not read yet."""

    def __init__(self, peer: str, network: str, steps: int):
        command = [sys.executable, "-m", "experiments.benchmarks.peers.worker", peer, network, str(steps)]
        pipe = subprocess.PIPE
        self.process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.peer = peer
        self.seconds: list[float] = []

    def answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            said = self.process.stderr.read().strip().splitlines() or ["nothing"]
            raise RuntimeError(f"{self.peer} ended; it said: {said[-1]:.200}")
        return json.loads(line)

    def turn(self) -> None:
        print(file=self.process.stdin, flush=True)
        self.seconds.append(self.answer()["seconds"])

    def end(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()


def measured(config: Config, name: str) -> dict[str, Any]:
    """Of each peer its seconds an epoch, to its first 20 steps, and its loss after them."""
    network, steps = NETWORKS[name], 40 if config.quick else 0
    wanted = [peer for peer in (*OURS[1:], *network.peers) if not config.peers or peer in config.peers]
    limit = [LIMIT] if network.peers == MLP and not config.peers else []
    if config.quick:
        wanted = [peer for peer in wanted if peer != "torch compiled"]
    running: list[Process] = []
    figures: dict[str, Any] = {}
    try:
        for peer in track([OURS[0], *wanted, *limit], description=f"{name}: start"):
            process = Process(peer, name, steps)
            try:
                figures[peer] = process.answer()
                process.answer()
            except RuntimeError as error:
                print(f"left out: {error}")
                figures.pop(peer, None)
                process.end()
                continue
            running.append(process)
        _same_work(network.differing, figures)
        for _ in track(range(2 if config.quick else config.rounds), description=f"{name}: epochs"):
            for process in running:
                time.sleep(REST)
                process.turn()
    finally:
        for process in running:
            process.end()
    examples = network.batch * (steps or network.steps)
    for process in running:
        median = statistics.median(process.seconds)
        figures[process.peer] |= {"epochs": process.seconds, "samples_per_second": examples / median}
    return figures


def _same_work(differing: tuple[str, ...], figures: dict[str, Any]) -> None:
    """Ends the run if a peer that should do the same work does not."""
    ours = figures[OURS[0]]["loss"]
    for peer in figures.keys() - {LIMIT, *differing}:
        if not abs(figures[peer]["loss"] - ours) < APART * ours:
            raise SystemExit(f"after equal steps the loss of {peer} is {figures[peer]['loss']:.6f}, ours {ours:.6f}")


def table_of(name: str, figures: dict[str, Any]) -> Table:
    table = Table("peer", "samples/s (median)", "slowest", "fastest", "funcnet / it", "first 20 steps, s", title=name)
    for column in table.columns[1:]:
        column.justify = "right"
    ours = figures[OURS[0]]["samples_per_second"]
    for peer, figure in sorted(figures.items(), key=lambda item: -item[1]["samples_per_second"]):
        rate, times = figure["samples_per_second"], figure["epochs"]
        slowest, fastest = (rate * statistics.median(times) / pick(times) for pick in (max, min))
        cells = f"{rate:,.0f}", f"{slowest:,.0f}", f"{fastest:,.0f}", f"{ours / rate:.2f}", f"{figure['first']:.1f}"
        table.add_row(peer, *cells, style="bold" if peer == OURS[0] else None)
    return table


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """A row of bars a network: each peer's speed as a share of ours."""
    figure, axes = plt.subplots(len(found), 1, figsize=(8, 1.9 * len(found) + 0.6), layout="constrained", squeeze=False)
    for ax, (name, figures) in zip(axes[:, 0], found.items(), strict=True):
        ours = figures[OURS[0]]["samples_per_second"]
        shares = {peer: f["samples_per_second"] / ours for peer, f in figures.items()}
        peers = sorted(shares, key=shares.__getitem__)
        colours = ["#c0392b" if p == OURS[0] else "#b7c4d3" if p == LIMIT else "#5b7fa6" for p in peers]
        bars = ax.barh(peers, [shares[p] for p in peers], color=colours)
        ax.bar_label(bars, [f"{shares[p]:.2f}" for p in peers], padding=3, fontsize=8)
        ax.set(xlim=(0, 1.15 * max(shares.values())), title=name)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("samples a second, funcnet = 1")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(config: Config, out: Path) -> None:
    names = [list(NETWORKS)[number] for number in config.networks]
    if config.quick and config.networks == Config.networks:
        names = [list(NETWORKS)[number] for number in (0, 4)]
    start, found = time.perf_counter(), {}
    for name in names:
        found[name] = measured(config, name)
        Console().print(table_of(name, found[name]))
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    print(f"on {platform.processor() or platform.machine()}, {versions}")
    draw(found, out / "training.png")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, "versions": versions, "networks": found}
    harness.finish(out, "benchmarks.training", config, metrics, out / "training.png")


if __name__ == "__main__":
    harness.run("benchmarks.training", main, Config, __doc__)
