"""The benchmark of training: peers do the same work, as far as they are installed here, and what is drawn of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks import training
from experiments.benchmarks.peers.work import NETWORKS

HERE = ("jax.grad of the same", "numpy", "flax", "equinox")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["784-128-10, batch 32", "LeNet-5, batch 64"])
def test_peers_do_the_same_work_in_processes_of_their_own(network, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # compiled as users compile
    peers = [peer for peer in ("jax.grad of the same", *NETWORKS[network].peers) if peer in HERE]
    losses = {}
    for peer in ("funcnet", *peers):
        process = training.Process(peer, network, steps=4)
        losses[peer] = process.answer()
        process.answer()
        process.turn()
        process.end()
        assert len(process.seconds) == 1
        assert process.process.returncode == 0
    assert len(peers) >= 2
    training._same_work((), losses)


FIGURES = {
    "funcnet": {"loss": 2.3, "first": 1.0, "epochs": [1.0, 2.0, 4.0], "samples_per_second": 600.0},
    "numpy": {"loss": 2.3, "first": 0.5, "epochs": [4.0, 3.0, 5.0], "samples_per_second": 300.0},
}


def test_the_table_and_the_picture(tmp_path):
    table = training.table_of("784-128-10", FIGURES)
    assert [list(column.cells) for column in table.columns[:5]] == [
        ["funcnet", "numpy"], ["600", "300"], ["300", "240"], ["1,200", "400"], ["1.00", "2.00"],
    ]  # fmt: skip
    training.draw({"784-128-10": FIGURES}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5_000


def test_other_work_ends_the_run():
    other = {**FIGURES, "numpy": FIGURES["numpy"] | {"loss": 2.31}}
    with pytest.raises(SystemExit, match=r"the loss of numpy is 2\.310000, ours 2\.300000"):
        training._same_work((), other)
    training._same_work(("numpy",), other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--networks", "9"], "--networks are numbers from 0 to 7; got (9,)"),
        (["--peers", "tensorflow"], "--peers are of jax.grad of the same, numpy, torch"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "experiments.benchmarks.training", "--out", tmp_path / "out", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert said in ended.stderr
