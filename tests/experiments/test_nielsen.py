"""The costs, the decay and the weights are the book's; and a short run on images that are not MNIST."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import harness, nielsen
from funcnet import data, gradcheck
from tests.cases import normal


@pytest.fixture
def float32():
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


N, Z, Y = 7, normal(0, 7, 10), np.eye(10)[[3, 1, 4, 1, 5, 9, 2]]
A = 1 / (1 + np.exp(-Z))


@pytest.mark.parametrize(
    ("loss", "outputs", "cost", "gradient"),
    [
        (nielsen.QUADRATIC, A, ((A - Y) ** 2).sum() / (2 * N), (A - Y) / N),
        (nielsen.CROSS_ENTROPY, Z, -(Y * np.log(A) + (1 - Y) * np.log(1 - A)).sum() / N, (A - Y) / N),
    ],
    ids=["quadratic", "cross-entropy"],
)
def test_the_costs_and_their_slopes(loss, outputs, cost, gradient):
    value, residuals = loss.fwd(jnp.asarray(outputs), jnp.asarray(Y))
    assert float(value) == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(loss.bwd(residuals, jnp.ones(()))[0], gradient, rtol=1e-12, atol=1e-14)
    gradcheck.assert_correct(loss, outputs, Y, dtypes=())


def test_weights_decay_by_the_share_of_the_book_and_biases_do_not():
    optimizer = nielsen.CHAPTERS["chapter_3"].optimizer
    params = {"w": jnp.array([2.0, -4.0]), "b": jnp.array([2.0])}
    grads = {"w": jnp.array([0.1, 0.0]), "b": jnp.array([0.3])}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    shrink = 1 - 0.5 * 5 / 50_000
    np.testing.assert_allclose(params["w"] + updates["w"], np.array([2 * shrink - 0.05, -4 * shrink]), rtol=1e-12)
    np.testing.assert_allclose(params["b"] + updates["b"], [2 - 0.15], rtol=1e-12)


@pytest.mark.parametrize(("name", "spread"), [("chapter_1", 1.0), ("chapter_3", 1 / 28)])
def test_the_first_weights_and_biases(name, spread):
    params, out_shape = nielsen.CHAPTERS[name].net.init(jax.random.key(0), (28, 28))
    assert out_shape == (10,)
    assert float(params[1]["w"].std()) == pytest.approx(spread, rel=0.03)
    assert float(params[1]["b"].std()) == pytest.approx(1, rel=0.35)
    assert params[1]["w"].shape == (784, {"chapter_1": 30, "chapter_3": 100}[name])


@pytest.mark.slow
def test_a_short_run_reports_the_best_epoch_and_the_last(tmp_path, monkeypatch, float32, capsys):
    digits = data.digits()  # 8 by 8, made larger: enough to learn from, and no MNIST is needed
    x_train, x_test = (np.kron(x, np.ones((1, 3, 3), np.float32)) for x in (digits.x_train[:300], digits.x_test[:100]))
    monkeypatch.setattr(
        data, "mnist", lambda data_dir: data.Dataset(x_train, digits.y_train[:300], x_test, digits.y_test[:100])
    )
    nielsen.main(nielsen.Config(seeds=2, epochs=3), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    printed = capsys.readouterr().out
    for name, chapter in nielsen.CHAPTERS.items():
        curves = [run[f"{name}_curve"] for run in metrics["per_seed"]]
        assert [len(curve) for curve in curves] == [3, 3]
        assert metrics[f"{name}_best_accuracy"] == pytest.approx(np.mean([max(curve) for curve in curves]))
        assert metrics[f"{name}_last_accuracy"] == pytest.approx(np.mean([curve[-1] for curve in curves]))
        assert metrics[f"{name}_best_accuracy"] > 0.25  # chance is 0.1
        best = f"{metrics[f'{name}_best_accuracy']:.4f}"
        assert re.search(rf"{chapter.title} +{chapter.published:.4f} +{best} ±", printed)
    assert (tmp_path / "nielsen.png").read_bytes().startswith(b"\x89PNG")


def test_the_metric_reads_one_hot_targets():
    assert float(nielsen.accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))) == 0.5


def test_bad_input():
    with pytest.raises(harness.InputError, match="--batch-size is at most 1000; got 1001"):
        nielsen.Config(batch_size=1001)
