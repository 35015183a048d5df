"""Peers do the same work, as far as they are installed here, and what is told of it."""

import pytest

from experiments.benchmarks.peers import turns
from experiments.benchmarks.peers.networks import NETWORKS

HERE = ("jax.grad of the same", "numpy", "flax", "equinox")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["784-128-10, batch 32", "LeNet-5, batch 64"])
def test_peers_do_the_same_work_in_processes_of_their_own(network, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")  # compiled as users compile
    peers = [peer for peer in ("jax.grad of the same", *NETWORKS[network].peers) if peer in HERE]
    losses = {}
    for peer in ("funcnet", *peers):
        process = turns.Process(peer, network, steps=4)
        losses[peer] = process.answer()
        process.answer()
        process.turn()
        process.end()
        assert len(process.seconds) == 1
        assert process.process.returncode == 0
    assert len(peers) >= 2
    turns.same_work((), losses)


FIGURES = {
    "funcnet": {"loss": 2.3, "first": 1.0, "epochs": [1.0, 2.0, 4.0], "samples_per_second": 600.0},
    "numpy": {"loss": 2.3, "first": 0.5, "epochs": [4.0, 3.0, 5.0], "samples_per_second": 300.0},
}


def test_the_table_and_the_shares():
    table = turns.table_of("784-128-10", FIGURES)
    assert [list(column.cells) for column in table.columns[:5]] == [
        ["funcnet", "numpy"], ["600", "300"], ["300", "240"], ["1,200", "400"], ["1.00", "2.00"],
    ]  # fmt: skip
    assert turns.shares(FIGURES) == {"funcnet": 1.0, "numpy": 0.5}


def test_other_work_ends_the_run():
    other = {**FIGURES, "numpy": FIGURES["numpy"] | {"loss": 2.31}}
    with pytest.raises(SystemExit, match=r"the loss of numpy is 2\.310000, ours 2\.300000"):
        turns.same_work((), other)
    turns.same_work(("numpy",), other)
