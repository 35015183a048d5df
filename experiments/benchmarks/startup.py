"""MNIST from a launch to an accuracy.

The clock runs from the start of the interpreter, through imports, compilation and training, to the end of the first
epoch after which the accuracy on the 10,000 test images is reached; the tests themselves are not counted. Everyone has
the same network, weights, order of the examples and plain gradient descent. With a warm cache, programs compiled by an
earlier process are read from a directory; PyTorch without ``torch.compile``, NumPy and scikit-learn compile nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from funcnet import data

from .. import harness
from ..pictures import peers
from .peers import turns
from .peers.networks import NETWORKS, OURS, initial
from .peers.starter import packed
from .peers.work import parametric


@dataclasses.dataclass(frozen=True)
class Recipe:
    network: str
    batch: int
    rate: float
    targets: tuple[float, ...]
    epochs: int
    """After so many it has missed."""
    decay: bool = False
    """Whether the rate falls to nothing over the epochs, by half a cosine."""

    @property
    def name(self) -> str:
        return f"{self.network.partition(',')[0]}, batch {self.batch}"


RECIPES = (
    Recipe("784-512-512-10, batch 128", 128, 0.3, (0.97, 0.98), 20),
    Recipe("LeNet-5, batch 64", 32, 0.15, (0.97, 0.98, 0.99), 8, decay=True),
)
GRAD = OURS[1]
COMPILING = (*OURS, "flax", "equinox", "keras", "torch compiled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """Which networks, which peers, and how many seeds."""

    networks: tuple[int, ...] = tuple(range(len(RECIPES)))
    """Numbers of networks: 0 a perceptron, 1 LeNet-5."""
    seeds: int = 10
    """How many seeds to run, counting up from the first."""
    peers: tuple[str, ...] = ()
    """Names of peers beside funcnet, jax.grad of the same among them; if not given, all others that are installed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= number < len(RECIPES) for number in self.networks):
            raise harness.InputError(f"--networks are numbers from 0 to {len(RECIPES) - 1}; got {self.networks}")
        known = {GRAD, *(peer for recipe in RECIPES for peer in NETWORKS[recipe.network].peers)}
        if unknown := set(self.peers) - known:
            raise harness.InputError(f"--peers are of {', '.join(sorted(known))}; got {', '.join(unknown)}")


def reached(recipe: Recipe, settings: dict[str, Any], cache: Path | None) -> dict[float, float]:
    """The seconds to each of the targets that the process reaches."""
    environment = os.environ | (
        {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": str(cache),
        }
        if cache
        else {}
    )
    command = [sys.executable, "-m", "experiments.benchmarks.peers.starter", json.dumps(settings)]
    found: dict[float, float] = {}
    start, testing = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as said:  # a file and no pipe, as XLA has much to say of programs from a cache
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
            for line in process.stdout or ():
                now, answer = time.perf_counter(), json.loads(line)
                testing += answer["testing"]
                for target in recipe.targets:
                    if answer["accuracy"] >= target:
                        found.setdefault(target, now - start - testing)
                if len(found) == len(recipe.targets):
                    process.kill()
        if process.returncode > 0:
            said.seek(0)
            last = (said.read().strip().splitlines() or ["nothing"])[-1]
            raise RuntimeError(f"{settings['peer']} ended; it said: {last:.200}")
    return found


@contextlib.contextmanager
def files(config: Config, recipe: Recipe) -> Iterator[Path]:
    """A folder with the data in the network's shape, and each seed's weights."""
    network, mnist = NETWORKS[recipe.network], data.mnist(config.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        arrays: dict[str, Any] = {}
        for part in ("train", "test"):
            x = getattr(mnist, f"x_{part}")
            arrays[f"x_{part}"] = np.rint(np.asarray(x) * 255).astype(np.uint8).reshape(len(x), *network.shape)
            arrays[f"y_{part}"] = np.asarray(getattr(mnist, f"y_{part}")).astype(np.uint8)
        np.savez(Path(folder, "data.npz"), **arrays)
        for seed in range(config.seed, config.seed + config.seeds):
            np.savez(Path(folder, f"{seed}.npz"), **packed(parametric(initial(network, seed))))
        yield Path(folder)


def measured(config: Config, recipe: Recipe) -> dict[str, list[dict[float, float]]]:
    """For each peer, and each with a warm cache if it compiles, what was reached with each seed."""
    network = NETWORKS[recipe.network]
    names = ["funcnet", *(p for p in config.peers or network.peers if p in (GRAD, *network.peers))]
    columns = [(peer, warm) for peer in names for warm in ((False, True) if peer in COMPILING else (False,))]
    found: dict[str, list[dict[float, float]]] = {}
    missing: set[str] = set()
    with files(config, recipe) as folder:
        runs = [(seed, *column) for seed in range(config.seed, config.seed + config.seeds) for column in columns]
        for seed, peer, warm in track(runs, description=recipe.name):
            if peer in missing:
                continue
            settings = {"peer": peer, "network": recipe.network, "data": str(folder / "data.npz"), "seed": seed}
            settings |= {"weights": str(folder / f"{seed}.npz"), "rate": recipe.rate, "batch": recipe.batch}
            settings |= {"decay": recipe.epochs if recipe.decay else 0}
            cache = folder / f"{peer}-{'warm' if warm else 'cold'}".replace(
                " ", "-"
            )  # a compiler's command line has it too
            try:
                if warm and not cache.exists():
                    reached(recipe, settings | {"epochs": 1}, cache)
                elif not warm:
                    shutil.rmtree(cache, ignore_errors=True)
                figures = reached(recipe, settings | {"epochs": 5 if config.quick else recipe.epochs}, cache)
            except RuntimeError as error:
                print(f"left out: {error}")
                missing.add(peer)
                continue
            found.setdefault(f"{peer}, warm cache" if warm else peer, []).append(figures)
    return found


def table_of(recipe: Recipe, found: dict[str, list[dict[float, float]]]) -> Table:
    """Of each peer and target the mean of the seconds; where a seed missed, how many did reach it."""
    table = Table("peer", *(f"s to {target}" for target in recipe.targets), title=recipe.name)
    for peer, seeds in found.items():
        cells = []
        for target in recipe.targets:
            seconds = [figures[target] for figures in seeds if target in figures]
            spread = f" ± {statistics.stdev(seconds):.1f}" if len(seconds) > 1 else ""
            mean = f"{statistics.fmean(seconds):.1f}{spread}" if seconds else ""
            cells.append(mean + ("" if len(seconds) == len(seeds) else f" ({len(seconds)} of {len(seeds)})"))
        table.add_row(peer, *cells, style="bold" if peer.startswith("funcnet") else None)
    return table


def rows_of(all_found: dict[str, dict[str, list[dict[float, float]]]]) -> dict[str, dict[str, float]]:
    """For each network and target, the mean seconds of each peer's seeds that reached it."""
    targets = {recipe.name: recipe.targets for recipe in RECIPES}
    return {
        f"{name}: to {target}": {
            peer: statistics.fmean(seconds)
            for peer, seeds in found.items()
            if (seconds := [figures[target] for figures in seeds if target in figures])
        }
        for name, found in all_found.items()
        for target in targets[name]
    }


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, seeds=1)
    start, found = time.perf_counter(), {}
    for recipe in [RECIPES[number] for number in config.networks][: 1 if config.quick else None]:
        found[recipe.name] = measured(config, recipe)
        Console().print(table_of(recipe, found[recipe.name]))
    peers.draw(out / "startup.png", rows_of(found), "seconds from the launch")
    metrics = {"seed": config.seed, "seconds": time.perf_counter() - start, **turns.machine(), "networks": found}
    harness.finish(out, "benchmarks.startup", config, metrics, out / "startup.png")


if __name__ == "__main__":
    harness.run("benchmarks.startup", main, Config, __doc__)
