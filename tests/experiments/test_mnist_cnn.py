"""The convolutional network on images that are drawn: its files, its flags, and one line for whatever is wrong."""

import json
import re
import sys

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments import harness, mnist_cnn
from experiments.pictures import kernels
from funcnet.data import Dataset


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Eight classes of 6x6 images, a bright pixel for each; in float32, as users have it."""
    labels = np.arange(48, dtype=np.int32) % 8
    images = np.random.default_rng(0).uniform(0, 0.1, (48, 6, 6)).astype(np.float32)
    images[range(48), labels // 4 + 2, labels % 4 + 1] = 1
    dataset = Dataset(images, labels, images, labels)
    monkeypatch.setattr(mnist_cnn.data, "load", lambda *args: dataset)
    with jax.enable_x64(False):
        yield


def run(monkeypatch, tmp_path, arguments):
    monkeypatch.setattr(sys, "argv", ["mnist_cnn", "--out", str(tmp_path), *arguments])
    harness.run("mnist_cnn", mnist_cnn.main, mnist_cnn.Config, mnist_cnn.__doc__)


def test_a_run_leaves_metrics_and_a_picture(monkeypatch, tmp_path, capsys):
    small_net = ["--channels", "4", "--kernel-size", "3", "--hidden", "16", "--dropout", "0", "--batch-size", "12"]
    run(monkeypatch, tmp_path, [*small_net, "--seeds", "2", "--epochs", "60", "--learning-rate", "0.01"])
    printed = capsys.readouterr().out
    assert 0 <= float(re.search(r"largest relative error (\S+),", printed)[1]) < harness.TOLERANCE
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["experiment"] == "mnist_cnn"
    assert metrics["test_accuracy"] > 0.9  # chance is 1/8
    assert len(metrics["per_seed"]) == 2
    assert metrics["config"]["channels"] == [4]
    assert (tmp_path / "mnist_cnn.png").stat().st_size > 20_000


def test_the_flags_reach_the_network():
    net, _ = mnist_cnn.made(mnist_cnn.Config(channels=(5,), hidden=(3, 2), dropout=0.25, stride=2, padding="same"), 7)
    names = [part.name for part in net.parts]
    assert names[:3] + names[4:6] == ["conv2d(5)", "max_pool(2)", "relu", "dense(3)", "relu"]
    assert "dropout(0.25)" in names
    shapes = []
    jax.eval_shape(lambda key: shapes.append(net.parts[0].init(key, (28, 28, 1))[1]), jax.random.key(0))
    assert shapes == [(14, 14, 5)]
    resnet, _ = mnist_cnn.made(mnist_cnn.Config(model="resnet", channels=(4, 6), blocks=2), 7)
    assert [part.name for part in resnet.parts].count("residual") == 3  # one of four changes its channels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--kernel-size", "7", "--batch-size", "8"],
            r"the network does not fit the image: .* an image of \(6, 6\) and a window of \(7, 7\)",
        ),
        (
            ["--channels", "4", "--kernel-size", "2", "--stride", "5", "--batch-size", "8"],
            r"does not fit the image: .*max_pool",
        ),
        (["--stride", "0"], "--stride is at least 1; got 0"),
        (["--channels", "4", "0"], "--channels is at least 1; got 0"),
        (["--padding", "some"], "invalid choice: 'some'"),
        (["--dropout", "1"], r"--dropout is a probability in \[0, 1\); got 1"),
        (["--batch-size", "49"], "--batch-size is at most the 48 training examples; got 49"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_every_kernel_stands_above_what_it_makes_of_the_digit():
    figure = plt.figure()
    weights, maps = np.arange(27.0).reshape(3, 3, 3), np.arange(12.0).reshape(2, 2, 3)
    kernels._kernels(figure, weights, maps, np.zeros((4, 4)))
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    plt.close(figure)
    assert [image.shape for image in shown] == [(4, 4), (3, 3), (3, 3), (2, 2), (2, 2), (3, 3), (2, 2)]
    np.testing.assert_array_equal(shown[2], weights[:, :, 1])
    np.testing.assert_array_equal(shown[4], maps[:, :, 1])
