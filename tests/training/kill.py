"""The kill test: a run that is killed at random moments and resumed ends with the bits of one that was never killed.

python -m tests.training.kill [--kills 100] [--seed 0]

Every run is a process of its own; SIGKILL strikes it. Moments are drawn over the whole of its life: while it imports,
compiles, trains, and while it writes a checkpoint, which is most of the time. Exit status 1 if a run ends with other
bits.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np

import funcnet
from funcnet import batch_norm, dense, dropout, ops, optimizers, relu, serial
from funcnet.progress import step_progress

EPOCHS = 30
ROOT = Path(__file__).parent.parent.parent


def train(directory: Path) -> None:
    """Dropout, batch normalisation, Adam, a schedule and patience: everything that a state holds. Saves every epoch."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(320, 33)).astype(np.float32), rng.integers(7, size=320).astype(np.int32)
    net = serial(dense(65), batch_norm(), relu(), dropout(0.3), dense(7))
    optimizer = optimizers.adam(funcnet.schedules.cosine(0.01, 10 * EPOCHS))
    run = funcnet.fit(
        net, ops.sparse_softmax_cross_entropy(), optimizer, net.init(jax.random.key(0), (33,))[0],
        (x, labels), (x[:50], labels[:50]), key=jax.random.key(1), epochs=EPOCHS, batch_size=32, patience=EPOCHS,
        progress=False, checkpoints=directory, checkpoint_seconds=0,
    )  # fmt: skip
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((run.params, run.state._replace(key=jax.random.key_data(run.state.key)))):
        digest.update(np.asarray(leaf).tobytes())
    print(digest.hexdigest(), sorted({len(run.history), int(run.state.step) // 10}))


def start(directory: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.kill", "--train", str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def killed(kills: int, seed: int = 0) -> tuple[list[bool], Counter]:
    """Whether each run that ended has the right bits, and how many kills struck after how many saved epochs."""
    drawn = random.Random(seed)
    places: Counter = Counter()
    ends = []
    with tempfile.TemporaryDirectory() as scratch, step_progress("kill", kills, lines=10) as report:
        begun = time.perf_counter()
        expected, _ = start(Path(scratch, "never")).communicate()
        life, run, left = time.perf_counter() - begun, 0, kills
        while left or (run and not ends):
            run += 1
            directory = Path(scratch, str(run))
            while True:
                process = start(directory)
                try:
                    out, err = process.communicate(timeout=drawn.uniform(0, life) if left else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    left -= 1
                    saved = [int(path.name) for path in (directory / "states").glob("*") if path.name.isdigit()]
                    places[max(saved, default=0) // 10] += 1
                    report(f"after epoch {max(saved, default=0) // 10}, {len(ends)} runs ended")
                    continue
                assert process.returncode == 0, err
                ends.append(out == expected)
                break
    return ends, places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
        return
    ends, places = killed(arguments.kills, arguments.seed)
    print(f"{arguments.kills} kills, after {len(places)} different epochs (before the first save: {places[0]})")
    print(f"{sum(ends)} of {len(ends)} runs ended with the bits of one never killed")
    sys.exit(not all(ends))


if __name__ == "__main__":
    main()
