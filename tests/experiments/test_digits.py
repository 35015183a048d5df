"""The digits experiment, as a user runs it: its output, its files, and one line for whatever is wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet
from experiments import digits, harness
from funcnet import data, models
from tests.cases import normal

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def float32():
    """What users have, where the other tests have float64."""
    with jax.enable_x64(False):
        yield


def test_a_quick_run_leaves_metrics_and_a_picture(tmp_path):
    """In a process of its own, so with JAX's defaults and no terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.digits", "--quick", "--seeds", "2", "--hidden", "32", "--out", tmp_path],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    error = float(re.search(r"largest relative error (\S+),", done.stdout)[1])
    assert 0 <= error < harness.TOLERANCE
    assert "epoch 5/5" in done.stderr

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics.keys() >= {"experiment", "seed", "seeds", "config", "seconds", "device", "jax", "per_seed"}
    accuracies = [run["test_accuracy"] for run in metrics["per_seed"]]
    assert metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert metrics["test_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert metrics["test_accuracy"] > 0.7  # chance is 0.1
    assert metrics["config"]["hidden"] == [32]
    assert len(metrics["per_seed"][0]["history"]) == 5
    model, dataset = models.load_model(tmp_path), data.load("digits", seed=0)
    found = np.asarray(model.predict(model.params, dataset.x_test)).argmax(axis=1)
    assert (found == dataset.y_test).mean() == pytest.approx(metrics["per_seed"][0]["test_accuracy"])
    picture = (tmp_path / "digits.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_a_planted_mistake_is_seen_before_training(monkeypatch, tmp_path):
    def forgets_the_batch(features, **settings):
        right = funcnet.dense(features, **settings)

        def bwd(residuals, dy):
            dparams, dx = right.bwd(residuals, dy)
            return dparams | {"b": dy[0]}, dx  # the bias gradient of one example

        return right._replace(bwd=bwd)

    net = funcnet.serial(funcnet.flatten(), forgets_the_batch(3))
    params, _ = net.init(jax.random.key(0), (7,))
    x, labels = normal(0, 11, 7), np.arange(11) % 3
    error, leaf = harness.gradient_error(net, digits.LOSS, params, x, labels, None)
    assert error > 0.1
    assert leaf == "params[1]['b']"

    monkeypatch.setattr(digits, "network", lambda hidden, classes, dropout: net)
    with pytest.raises(SystemExit, match="the derivation is wrong"):
        digits.main(digits.Config(quick=True), tmp_path)


def test_the_flags_reach_the_training(monkeypatch):
    def fit(net, loss, optimizer, params, train, validation, **settings):
        names = [part.name for part in net.parts]
        assert names == ["flatten", *("dense(5)", "relu", "dropout(0.25)"), *("dense(3)", "relu", "dropout(0.25)"),
                         "dense(10)"]  # fmt: skip
        assert optimizer is digits.optimizer("momentum", 0.5, "cosine", 7 * (1437 // 100))
        assert (settings["epochs"], settings["batch_size"]) == (7, 100)
        assert (len(train[0]), len(validation[0])) == (1437, 360)
        raise InterruptedError

    monkeypatch.setattr(funcnet, "fit", fit)
    config = digits.Config(
        hidden=(5, 3),
        dropout=0.25,
        optimizer="momentum",
        learning_rate=0.5,
        schedule="cosine",
        epochs=7,
        batch_size=100,
    )
    with pytest.raises(InterruptedError):
        digits.train(config, 0, compare=False)


@pytest.mark.parametrize(
    ("rate", "schedule", "first", "later"), [(None, "constant", 0.1, 0.1), (0.4, "cosine", 0.4, 0.2)]
)
def test_the_learning_rate(rate, schedule, first, later):
    optimizer = digits.optimizer("sgd", rate, schedule, 6)
    params = grads = {"w": np.ones(3, np.float32)}
    state, rates = optimizer.init(params), []
    for _ in range(4):
        updates, state = optimizer.update(grads, state, params)
        rates.append(-float(updates["w"][0]))
    assert rates[0] == pytest.approx(first)
    assert rates[3] == pytest.approx(later)  # halfway along a cosine of six steps


def test_another_seed_is_another_run(monkeypatch):
    fits = []
    monkeypatch.setattr(funcnet, "fit", lambda *args, key, **settings: fits.append((args, key)) or 1 / 0)
    for seed in (0, 1):
        with pytest.raises(ZeroDivisionError):
            digits.train(digits.Config(), seed, compare=False)
    (first, first_key), (second, second_key) = fits
    assert not np.array_equal(first[3][1]["w"], second[3][1]["w"])
    assert not np.array_equal(first[4][1], second[4][1])  # the split
    assert not np.array_equal(jax.random.key_data(first_key), jax.random.key_data(second_key))


def test_class_accuracy_is_of_the_true_class():
    assert digits.class_accuracy(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 1])) == [0.5, 1.0]


BAD = [
    (["--epochs", "0"], "--epochs is at least 1; got 0"),
    (["--epochs", "many"], "invalid int value: 'many'"),
    (["--batch-size", "1438"], "--batch-size is at most the 1437 training examples; got 1438"),
    (["--hidden", "0"], "--hidden is at least 1; got 0"),
    (["--learning-rate", "-1"], "--learning-rate is above 0"),
    (["--learning-rate", "nan"], "--learning-rate is above 0"),
    (["--learning-rate"], "--learning-rate: expected one argument"),
    (["--dropout", "1"], r"--dropout is a probability in \[0, 1\); got 1"),
    (["--seeds", "0"], "--seeds is at least 1"),
    (["--data", "cifar"], "invalid choice: 'cifar'"),
    (["--data", "mnist", "--data-dir", "nowhere"], "nowhere: no train-images-idx3-ubyte"),
    (["--optimizer", "newton"], "invalid choice: 'newton'"),
    (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    (["--out", "/dev/null/x"], "--out /dev/null/x: Not a directory"),
    (["--learning-rate", "4e9", "--optimizer", "sgd", "--quick"], r"step \d+: the \w+ of params.* is not finite"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["digits", *(["--out", str(tmp_path)] if "--out" not in arguments else []), *arguments]
    )
    with pytest.raises(SystemExit) as stopped:
        harness.run("digits", digits.main, digits.Config, digits.__doc__)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1
    assert re.search(message, lines[0])
