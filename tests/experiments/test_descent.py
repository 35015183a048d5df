"""Descent upon a loss surface: its gradients, where it ends, and what a run leaves."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import descent, harness
from experiments.descent import LOSS, Config
from funcnet import gradcheck, optimizers


def test_the_derivation_is_right():
    assert gradcheck.check(descent.UNIT, name="unit")


def test_a_path_follows_the_gradient_that_autodiff_finds():
    config = Config(steps=5)
    x, targets = descent.examples(config)
    ws, losses = descent.path(optimizers.sgd(0.05), config, x, targets)
    value_and_grad = jax.value_and_grad(lambda w: LOSS.fwd(descent.UNIT.fwd(w, x)[0], targets)[0])
    for now, after, loss in zip(ws, ws[1:], losses, strict=False):
        value, slope = map(np.asarray, value_and_grad(now))
        np.testing.assert_allclose(after, now - 0.05 * slope, rtol=1e-6)
        assert loss == pytest.approx(value, rel=1e-6)


def test_a_run_ends_in_a_valley_and_leaves_the_picture_and_the_animation(tmp_path, capsys):
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        descent.main(Config(quick=True), tmp_path)
    assert "Adam: from loss" in capsys.readouterr().out
    for found in json.loads((tmp_path / "metrics.json").read_text())["paths"].values():
        assert found["loss"][-1] < 0.13 < found["loss"][0]  # the noise has a variance of 0.09
        np.testing.assert_allclose(np.abs(found["w"][-1]), [1.5, 2.0], atol=0.25)
    with Image.open(tmp_path / "descent.gif") as animation:
        assert animation.n_frames == 5
    assert (tmp_path / "descent.png").stat().st_size > 20_000


@pytest.mark.parametrize("flags", [{"steps": 0}, {"points": 0}, {"learning_rate": 0.0}])
def test_bad_settings_are_refused(flags):
    with pytest.raises(harness.InputError):
        Config(**flags)
