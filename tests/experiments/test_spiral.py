"""The Bayes rate, by other roads than the experiment's; and a short run."""

import json
import math

import jax
import numpy as np
import pytest

from experiments import harness, spiral
from funcnet import data


def tail(distance: float, deviation: float) -> float:
    """P(N(0, deviation²) > distance)."""
    return 0.5 * math.erfc(distance / deviation / math.sqrt(2))


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0, 2.0])
def test_each_density_is_one_over_the_circle(noise):
    turn = 2 * np.pi * np.arange(20_000) / 20_000
    total = spiral.densities_ahead(turn, 3, noise).mean(axis=0) * 2 * np.pi
    np.testing.assert_allclose(total, 1, rtol=1e-9)


def test_the_rate_is_the_mass_of_each_arm_up_to_the_midpoints_between_arms():
    """Of normals of one deviation on a circle the nearest wins; a whole turn further there is next to nothing."""
    deviation = 2.5 * 0.2
    places = np.sort(10.0 * np.arange(3) % (2 * np.pi))
    gaps = np.diff([*places, places[0] + 2 * np.pi])
    missed = 2 * sum(tail(gap / 2, deviation) for gap in gaps) / 3
    assert spiral.bayes_rate(3, 0.2) == pytest.approx(1 - missed, abs=1e-6)


@pytest.mark.parametrize(("classes", "noise"), [(2, 0.3), (3, 0.2), (5, 0.1)])
def test_the_bayes_classifier_scores_the_rate_on_points_of_the_generator(classes, noise):
    x, y = data.spiral(20_000, classes, noise, seed=7)
    right = (spiral.densities(x, classes, noise).argmax(axis=1) == y).mean()
    rate = spiral.bayes_rate(classes, noise)
    assert abs(right - rate) < 4 * math.sqrt(rate * (1 - rate) / len(y))


@pytest.mark.parametrize(("classes", "noise", "rate"), [(3, 0.01, 1.0), (4, 2.0, 0.25)])
def test_the_ends_of_the_range(classes, noise, rate):
    assert spiral.bayes_rate(classes, noise) == pytest.approx(rate, abs=1e-5)


@pytest.mark.slow
def test_a_short_run_leaves_metrics_a_picture_and_a_film(tmp_path, monkeypatch):
    monkeypatch.setattr(spiral, "FRESH", 500)
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        spiral.main(spiral.Config(steps=150, hidden=(16,), quick=True), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["fresh_points"] == 1500
    assert metrics["bayes_rate"] == pytest.approx(0.90983, abs=1e-5)
    assert 0.4 < metrics["test_accuracy"] < metrics["bayes_rate"]
    assert metrics["below_bayes_rate"] == metrics["bayes_rate"] - metrics["test_accuracy"]
    assert (tmp_path / "spiral.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "spiral.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "--classes is at least 2"),
        ({"classes": 11}, "--classes is at most 10; got 11"),
        ({"noise": 0.0}, "--noise lies between 0.01 and 2; got 0.0"),
        ({"steps": 20}, "--steps is at least 50; got 20"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(harness.InputError, match=message):
        spiral.Config(**settings)
