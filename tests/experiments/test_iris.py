import json

import jax
import numpy as np
import pytest

from experiments import harness, iris
from funcnet import data


@pytest.fixture(autouse=True)
def float32():
    """What users have, where the other tests have float64."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


def test_the_features_are_standardised_by_the_training_part_alone():
    dataset = data.iris(3)
    scaled = iris.standardised(dataset)
    np.testing.assert_allclose(scaled.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.x_train.std(axis=0), 1, atol=1e-5)
    assert np.abs(scaled.x_test.mean(axis=0)).max() > 0.01  # it has a mean of its own
    others = iris.standardised(dataset._replace(x_test=dataset.x_test + 9))
    np.testing.assert_array_equal(others.x_train, scaled.x_train)
    np.testing.assert_allclose(others.x_test - scaled.x_test, np.full((30, 4), 9) / dataset.x_train.std(axis=0), 1e-4)


def test_a_quick_run_learns_and_leaves_metrics_and_a_picture(tmp_path, capsys):
    iris.main(iris.Config(quick=True), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["seeds"] == 2
    accuracies = [run["test_accuracy"] for run in metrics["per_seed"]]
    assert metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert min(accuracies) > 0.8  # chance is a third
    assert len(metrics["per_seed"][0]["history"]) == 50
    assert f"test accuracy {np.mean(accuracies):.4f} ±" in capsys.readouterr().out
    assert (tmp_path / "iris.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 121}, "--batch-size is at most the 120 training examples; got 121"),
        ({"hidden": (8, 0)}, "--hidden is at least 1"),
        ({"learning_rate": float("nan")}, "--learning-rate is above 0; got nan"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(harness.InputError, match=message):
        iris.Config(**settings)
