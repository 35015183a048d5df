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
    assert 0 <= error < digits.TOLERANCE
    assert "epoch 5/5" in done.stderr

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics.keys() >= {"experiment", "seed", "seeds", "config", "seconds", "device", "jax", "per_seed"}
    accuracies = [run["test_accuracy"] for run in metrics["per_seed"]]
    assert metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert metrics["test_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert metrics["test_accuracy"] > 0.7  # chance is 0.1
    assert metrics["config"]["hidden"] == [32]
    assert len(metrics["per_seed"][0]["history"]) == 5
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
    error, leaf = digits.gradient_error(net, params, x, labels, None)
    assert error > 0.1
    assert leaf == "params[1]['b']"

    monkeypatch.setattr(digits, "network", lambda hidden, classes, dropout: net)
    with pytest.raises(SystemExit, match="the derivation is wrong"):
        digits.main(digits.Config(quick=True), tmp_path)


BAD = [
    (["--epochs", "0"], "--epochs is at least 1; got 0"),
    (["--epochs", "many"], "invalid int value: 'many'"),
    (["--batch-size", "1438"], "--batch-size is at most the 1437 training examples; got 1438"),
    (["--hidden", "0"], "--hidden is at least 1; got 0"),
    (["--learning-rate", "-1"], "--learning-rate is above 0"),
    (["--learning-rate", "nan"], "--learning-rate is above 0"),
    (["--dropout", "1"], r"--dropout is a probability in \[0, 1\); got 1"),
    (["--seeds", "0"], "--seeds is at least 1"),
    (["--data", "cifar"], "invalid choice: 'cifar'"),
    (["--data", "mnist", "--data-dir", "nowhere"], "nowhere: no train-images-idx3-ubyte"),
    (["--optimizer", "newton"], "invalid choice: 'newton'"),
    (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    (["--out", "/dev/null/x"], "--out /dev/null/x: Not a directory"),
    (["--learning-rate", "1e38", "--optimizer", "sgd", "--quick"], r"step \d+: the \w+ of params.* is not finite"),
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
