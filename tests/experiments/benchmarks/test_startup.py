"""The benchmark of starts: what a process reaches, and how it is told."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import startup
from experiments.benchmarks.peers.networks import NETWORKS, initial
from experiments.benchmarks.peers.starter import packed, unpacked
from experiments.benchmarks.peers.work import parametric

NETWORK = "784-128-10, batch 32"
RECIPE = startup.Recipe(NETWORK, batch=16, rate=0.1, targets=(0.5, 0.9, 1.1), epochs=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images with noise, which a perceptron tells apart at once."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("startup")
    means, arrays = rng.integers(256, size=(10, 784)), {}
    for part, count in (("train", 320), ("test", 50)):
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
        noisy = means[arrays[f"y_{part}"]] + rng.normal(0, 20, (count, 784))
        arrays[f"x_{part}"] = noisy.clip(0, 255).astype(np.uint8)
    np.savez(folder / "data.npz", **arrays)
    np.savez(folder / "weights.npz", **packed(parametric(initial(NETWORKS[NETWORK], 0))))
    return folder


@pytest.mark.parametrize("peer", ["numpy", "funcnet"])
def test_a_process_is_timed_to_each_target_that_it_reaches(peer, folder, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    settings = {"peer": peer, "network": NETWORK, "data": str(folder / "data.npz"), "seed": 0, "decay": 0}
    settings |= {"weights": str(folder / "weights.npz"), "rate": RECIPE.rate, "batch": RECIPE.batch, "epochs": 3}
    found = startup.reached(RECIPE, settings, None)
    assert list(found) == [0.5, 0.9]
    assert 0 < found[0.5] <= found[0.9] < 60


def test_a_process_that_fails_says_why(folder):
    with pytest.raises(RuntimeError, match=r"numpy ended; it said: TypeError: main\(\) missing"):
        startup.reached(RECIPE, {"peer": "numpy"}, None)


def test_weights_come_back_from_a_file(folder):
    given = list(parametric(initial(NETWORKS[NETWORK], 0)))
    for layer, expected in zip(unpacked(np.load(folder / "weights.npz")), given, strict=True):
        assert layer.keys() == expected.keys()
        for name, leaf in layer.items():
            np.testing.assert_array_equal(leaf, expected[name])


def test_the_table_says_how_many_seeds_missed():
    found = {"funcnet": [{0.5: 2.0, 0.9: 3.0}, {0.5: 4.0}], "numpy": [{0.5: 1.0, 0.9: 2.0}, {0.5: 1.0, 0.9: 4.0}]}
    table = startup.table_of(RECIPE, found)
    assert [list(column.cells) for column in table.columns[:3]] == [
        ["funcnet", "numpy"], ["3.0 ± 1.4", "1.0 ± 0.0"], ["3.0 (1 of 2)", "3.0 ± 1.4"],
    ]  # fmt: skip
    name = startup.RECIPES[0].name
    rows = startup.rows_of({name: {"funcnet": [{0.97: 2.0, 0.98: 3.0}, {0.97: 4.0}], "numpy": [{0.97: 1.0}]}})
    assert rows == {f"{name}: to 0.97": {"funcnet": 3.0, "numpy": 1.0}, f"{name}: to 0.98": {"funcnet": 3.0}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peers", "theano"], "--peers are of equinox, flax, jax.grad of the same, keras"),
        (["--networks", "2"], "--networks are numbers from 0 to 1; got (2,)"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "experiments.benchmarks.startup", "--out", tmp_path / "out", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert said in ended.stderr
