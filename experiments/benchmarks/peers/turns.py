"""Peers in processes of their own, which take turns: an epoch each, and medians are compared."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.progress import track
from rich.table import Table

from .networks import ENSEMBLES, MLP, NETWORKS, OURS

LIMIT = "products alone"
PACKAGES = ("jax", "numpy", "torch", "flax", "equinox", "keras", "scikit-learn", "optax")
APART = 1e-4
"""How far a peer's loss may be from ours after equal steps from equal weights, relative to ours."""
REST = 0.3
"""Seconds between turns: a framework's threads may spin for a while after their work."""


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


def measured(name: str, rounds: int, quick: bool, peers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of each peer its seconds an epoch, to its first 20 steps, and its loss after them.

    ``rounds`` epochs are timed; ``peers`` are all that are installed, if none is given.
    """
    network, steps = {**NETWORKS, **ENSEMBLES}[name], 40 if quick else 0
    wanted = [peer for peer in (*OURS[1:], *network.peers) if not peers or peer in peers]
    limit = [LIMIT] if network.peers == MLP and not peers else []
    if quick:
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
        same_work(network.differing, figures)
        for _ in track(range(2 if quick else rounds), description=f"{name}: epochs"):
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


def same_work(differing: tuple[str, ...], figures: dict[str, Any]) -> None:
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


def shares(figures: dict[str, Any]) -> dict[str, float]:
    """Each peer's samples a second, ours being 1."""
    ours = figures[OURS[0]]["samples_per_second"]
    return {peer: figure["samples_per_second"] / ours for peer, figure in figures.items()}


def machine() -> dict[str, Any]:
    """The processor and the versions of all that is compared."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "versions": versions}
