"""Note 001's neurons are right, and are the matrix form; note 004's networks trained together are as each alone."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import harness
from experiments import mnist_from_scratch as scratch
from funcnet import data, gradcheck
from tests.cases import normal


@pytest.fixture
def float32():
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def digits():
    """Digits in MNIST's shape, enough to learn a little from."""
    rng = np.random.default_rng(0)
    labels = (np.arange(150) % 10).astype(np.int32)
    templates = rng.random((10, 28, 28), np.float32)
    images = templates[labels] * rng.random((150, 28, 28), np.float32)
    return data.Dataset(images[:100], labels[:100], images[100:], labels[100:])


def test_a_neuron_is_derived_right():
    gradcheck.assert_correct(scratch.neuron(), in_shape=(5,), dtypes=())


def test_first_weights_are_small_and_biases_zero():
    params, out_shape = scratch.neural_network((200, 10)).init(jax.random.key(0), (30,))
    assert out_shape == (10,)
    assert (len(params[0]), len(params[1])) == (200, 10)
    weights = np.concatenate([neuron["w"] for neuron in params[0]])
    assert weights.std() == pytest.approx(0.01, rel=0.05)
    assert all(neuron["b"].shape == () and neuron["b"] == 0 for layer in params for neuron in layer)


def test_training_takes_the_batches_in_order_and_prints_their_mean_loss(capsys):
    """Two layers in NumPy, with the right gradients, on 11 examples in batches of 4, 4 and 3."""
    x, y = normal(0, 11, 5), np.abs(normal(1, 11, 2))
    net = scratch.neural_network((3, 2))
    params, _ = net.init(jax.random.key(1), (5,))
    params = jax.tree.map(lambda p: p + 0.3, params)
    (w1, b1), (w2, b2) = ((np.array(p["w"]), np.array(p["b"])) for p in scratch.as_matrices(params)[::2])
    losses = []
    for _ in range(2):
        total = 0.0
        for i in (0, 4, 8):
            xb, yb = x[i : i + 4], y[i : i + 4]
            h = np.maximum(xb @ w1 + b1, 0)
            a = np.maximum(h @ w2 + b2, 0)
            total += ((a - yb) ** 2).mean() * len(xb)
            d2 = 2 * (a - yb) / a.size * (a > 0)
            d1 = (d2 @ w2.T) * (h > 0)
            w2, b2, w1, b1 = w2 - 0.1 * h.T @ d2, b2 - 0.1 * d2.sum(0), w1 - 0.1 * xb.T @ d1, b1 - 0.1 * d1.sum(0)
        losses.append(total / 11)
    learned = scratch.train(net, params, jnp.asarray(x), jnp.asarray(y), epochs=2, learning_rate=0.1, batch_size=4)
    for got, expected in zip(jax.tree.leaves(scratch.as_matrices(learned)), (b1, w1, b2, w2), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    lines = capsys.readouterr().out.splitlines()
    for line, epoch, loss in zip(lines, (1, 2), losses, strict=True):
        printed = re.fullmatch(rf"Epoch {epoch}/2, Loss: (\S+)", line)
        assert float(printed[1]) == pytest.approx(loss, rel=1e-12)


def test_another_backward_would_be_seen(monkeypatch, digits, float32):
    right = scratch.neuron()

    def bwd(residuals, da):  # the gradient sent below by weights that have already moved, as in the note
        dparams, _ = right.bwd(residuals, da)
        return dparams, jnp.outer(jnp.where(residuals.z > 0, da[:, 0], 0), residuals.w - 0.5 * dparams["w"])

    monkeypatch.setattr(scratch, "neuron", lambda: right._replace(bwd=bwd))
    with pytest.raises(SystemExit, match="they are not the same network"):
        scratch.by_neuron(scratch.Config(hidden=3, neuron_epochs=1, quick=True), digits)


@pytest.mark.slow
def test_networks_trained_together_are_those_trained_alone(digits, float32):
    together = scratch.note_004(scratch.Config(seeds=3, epochs=4), digits)
    (alone,) = scratch.note_004(scratch.Config(seed=1, seeds=1, epochs=4), digits)
    assert together[1]["seed"] == 1
    assert together[1]["curve"] == pytest.approx(alone["curve"], abs=0.021)  # one image of fifty may tip over
    assert together[0]["curve"] != together[1]["curve"]


@pytest.mark.slow
def test_a_quick_run_leaves_metrics_and_a_picture(monkeypatch, digits, tmp_path, float32):
    monkeypatch.setattr(data, "mnist", lambda data_dir: digits)
    scratch.main(scratch.Config(hidden=3, seeds=2, quick=True), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["seeds"] == 2
    assert len(metrics["per_seed"][0]["curve"]) == 10
    assert 0 < metrics["neuron_largest_difference"] < scratch.TOLERANCE
    assert metrics["neuron_step_milliseconds"] > 0
    assert (tmp_path / "mnist_from_scratch.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input():
    with pytest.raises(harness.InputError, match="--neuron-images lies between 32 and 60000; got 31"):
        scratch.Config(neuron_images=31)
