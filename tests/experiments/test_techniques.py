"""The comparison of techniques: the search for a rate, that each changes what it says, and what a run leaves."""

import json

import jax
import numpy as np
import pytest

from experiments import harness, techniques
from experiments.techniques import TECHNIQUES, Config, Run, best, neighbours, search
from funcnet import training
from funcnet.training import NonFiniteError

BASELINE = TECHNIQUES[0]


@pytest.fixture(autouse=True)
def defaults():
    """What users have, where the other tests are strict."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.3, (0.1, 1.0)), (1.0, (0.3, 3.0)), (3, (1.0, 10.0)), (0.001, (0.0003, 0.003))]
)
def test_neighbours_of_a_rate(rate, expected):
    assert neighbours(rate) == expected


@pytest.mark.parametrize(("start", "tried"), [(0.3, 3), (0.03, 5), (3.0, 5)])
def test_the_search_climbs_to_the_best_and_tries_each_rate_once(start, tried):
    asked = []

    def attempt(rate):
        asked.append(rate)
        return Run(0.0, 0.0, [1 - abs(np.log(rate / 0.3))])

    runs = search(attempt, start)
    assert best(runs) == 0.3
    assert set(neighbours(0.3)) < set(runs)
    assert len(asked) == len(set(asked)) == tried


def test_a_rate_that_diverges_is_no_candidate():
    def attempt(rate):
        if rate > 0.5:
            raise NonFiniteError("too large", 0, None)
        return Run(0.0, 0.0, [rate])

    assert best(search(attempt, 0.1)) == 0.3
    with pytest.raises(NonFiniteError):
        search(attempt, 1.0)


def test_the_choice_never_sees_the_test_set():
    assert best({0.1: Run(0.9, 0.1, [0.9]), 0.3: Run(0.8, 0.99, [0.8])}) == 0.1


def test_the_choice_is_by_the_last_three_epochs():
    assert best({0.1: Run(0.9, 0.0, [0.0, 0.8, 0.8, 0.9]), 0.3: Run(0.85, 0.0, [0.0, 0.85, 0.85, 0.85])}) == 0.3


@pytest.mark.slow
@pytest.mark.parametrize("technique", TECHNIQUES[1:], ids=lambda technique: technique.name)
def test_every_technique_trains_otherwise_than_the_baseline(technique):
    """Two steps from its own first parameters; stopping early changes its setting alone."""
    x, labels = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32), np.arange(40) % 3

    def trained(technique):
        net, optimizer = techniques.made(technique, (5,), 3, 0.1, 5)
        params, _ = net.init(jax.random.key(0), (7,))
        state = training.init_state(params, optimizer, jax.random.key(1))
        step = training.train_step(net, technique.loss, optimizer, technique.penalty)
        for _ in range(2):
            state, _ = step(state, (x, labels))
        return [np.asarray(state.params[i]["w"]) for i in (1, -1)]

    same = all(np.array_equal(a, b) for a, b in zip(trained(technique), trained(BASELINE), strict=True))
    assert same == (technique.patience is not None)


def test_what_is_held_out_is_not_trained_on():
    sets = techniques.split(Config(data="digits"), 0)
    assert [len(sets[name][0]) for name in ("train", "validation", "test")] == [1198, 239, 360]
    rows = [{row.tobytes() for row in np.asarray(sets[name][0])} for name in ("train", "validation", "test")]
    assert not rows[0] & rows[1]
    assert not (rows[0] | rows[1]) & rows[2]
    with pytest.raises(harness.InputError, match="--batch-size is at most the 1198 training examples; got 1199"):
        techniques.split(Config(data="digits", batch_size=1199), 0)


@pytest.mark.slow
def test_a_quick_run(tmp_path, capsys):
    techniques.main(Config(quick=True, epochs=3), tmp_path)
    printed = capsys.readouterr().out.splitlines()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["config"]["data"] == "digits"
    for name in techniques.QUICK:
        accuracies = [run[f"{name}: test_accuracy"] for run in metrics["per_seed"]]
        assert len(accuracies) == 2
        assert metrics[f"{name}: test_accuracy"] == pytest.approx(np.mean(accuracies))
        row = next(line for line in printed if line.startswith(name))
        assert f" {100 * np.mean(accuracies):.2f} ± {100 * np.std(accuracies, ddof=1):.2f}" in row
    assert metrics["plain gradient descent: test_accuracy"] > 0.7  # chance is 0.1
    assert metrics["learning_rates"]["Adam"] == 0.001
    assert (tmp_path / "techniques.png").read_bytes().startswith(b"\x89PNG")
