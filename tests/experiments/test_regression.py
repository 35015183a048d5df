"""The regression experiment: its data, its figures, its files, and one line for whatever is wrong."""

import json
import re
import sys

import jax
import numpy as np
import pytest
from sklearn import metrics

from experiments import harness, regression
from funcnet import data
from tests.cases import normal


@pytest.fixture(autouse=True)
def defaults():
    """What users have, where the other tests are strict."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
def test_a_quick_run_leaves_metrics_and_a_picture_and_shows_the_difference(tmp_path, capsys):
    regression.main(regression.Config(quick=True), tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert (found["seeds"], found["config"]["epochs"], len(found["per_seed"])) == (2, 10, 2)
    for kind in ("clean", "spoiled"):
        for model in regression.MODELS:
            for score in ("r2", "mae", "rmse", "bias"):
                values = [run[f"{kind}_{model}_{score}"] for run in found["per_seed"]]
                assert found[f"{kind}_{model}_{score}"] == pytest.approx(np.mean(values))
    assert found["spoiled_mse_bias"] > 30 > 10 > abs(found["spoiled_mae_bias"])
    assert abs(found["spoiled_huber_bias"]) < 15
    printed = capsys.readouterr().out
    assert "5% of the training targets ten times too large, over 2 seeds:" in printed
    assert re.search(rf"^Huber +{found['clean_huber_r2']:.3f} ± ", printed, re.MULTILINE)
    assert (tmp_path / "regression.png").read_bytes().startswith(b"\x89PNG")


def test_with_the_same_objective_scikit_learn_learns_the_same():
    config = regression.Config(epochs=150, l2=0.5)
    s = regression.scaled(data.diabetes(0))
    ours, theirs = regression.predict(config, "mse", s, 0), regression.predict_by_peer(config, s, 0)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    assert ours.std() == pytest.approx(theirs.std(), rel=0.1)  # a penalty that is not the same shrinks otherwise


def test_misplaced_decimal_points():
    y = 1 + np.arange(50.0)
    spoiled = regression.misplace(y, 0.1, seed=0)
    assert sorted((spoiled / y).tolist()) == [1] * 45 + [10] * 5
    assert not np.array_equal(spoiled, regression.misplace(y, 0.1, seed=1))
    assert np.array_equal(y, regression.misplace(y, 0, seed=0))


def test_scaled_by_the_training_set_alone():
    dataset = data.diabetes(0)
    s = regression.scaled(dataset)
    np.testing.assert_allclose(s.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(s.x_train.std(axis=0), 1, rtol=1e-5)
    other = regression.scaled(dataset._replace(x_test=2 * dataset.x_test, y_test=0 * dataset.y_test))
    np.testing.assert_array_equal(s.x_train, other.x_train)
    np.testing.assert_allclose(s.unscaled(s.y_train[:, None]), dataset.y_train, rtol=1e-5)
    y_wild = regression.misplace(dataset.y_train, 0.05, 0)
    wild = regression.scaled(dataset._replace(y_train=y_wild))
    assert y_wild.std() > 4 * dataset.y_train.std()
    assert s.spread < wild.spread < 1.2 * s.spread
    assert s.middle < wild.middle < s.middle + 0.1 * s.spread


def test_scores_are_those_of_scikit_learn():
    true, predicted = normal(0, 11), normal(1, 11)
    assert regression.scores(true, predicted) == pytest.approx(
        {
            "r2": metrics.r2_score(true, predicted),
            "mae": metrics.mean_absolute_error(true, predicted),
            "rmse": metrics.root_mean_squared_error(true, predicted),
            "bias": (predicted - true).mean(),
        }
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spoiled", "1.5"], r"--spoiled is a share in \[0, 1\]; got 1.5"),
        (["--delta", "0"], "--delta is above 0; got 0"),
        (["--learning-rate", "nan"], "--learning-rate is above 0; got nan"),
        (["--l2", "-1"], "--l2 is at least 0; got -1"),
        (["--batch-size", "400", "--quick"], "--batch-size is at most the 353 training examples; got 400"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["regression", "--out", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as stopped:
        harness.run("regression", regression.main, regression.Config, regression.__doc__)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
