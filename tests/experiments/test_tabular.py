"""A table of one's own: what is made of its columns, the three commands, and one line for a table that is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import harness, tabular
from funcnet.models import Table

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def float32():
    """What users have, where the other tests have float64."""
    with jax.enable_x64(False):
        yield


def written(path, rows=90, seed=0):
    """Two numbers, one with gaps, a category, a constant and a name; the class is the sign of a sum of them."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(50, 10, rows), rng.normal(-3, 0.1, rows)
    kind = rng.choice(["red", "blue"], rows)
    score = (a - 50) / 10 + (b + 3) / 0.1 + 2 * (kind == "red")
    lines = ["a,b,kind,one,name,answer,price"]
    for i in range(rows):
        gap = "" if i % 9 == 0 else f"{a[i]:.4f}"
        answer = "yes" if score[i] > 1 else "no"
        lines.append(f"{gap},{b[i]:.8f},{kind[i]},1,row {i},{answer},{100 + 10 * score[i]:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def config(path, **settings):
    return tabular.Config(file=path, **{"target": "answer", "leave_out": ("price",), **settings})


@pytest.mark.slow
def test_three_commands_train_describe_and_predict(tmp_path):
    """In processes of their own, as a user types them."""
    written(tmp_path / "data.csv")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment["PYTHONPATH"] = str(ROOT)

    def typed(*words):
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = typed("experiments.tabular", "data.csv", "--target", "answer", "--leave-out", "price")
    assert "data.csv: 72 rows to train on, 18 held out; 3 columns, 5 features" in printed
    assert "answer: 2 classes, so classification" in printed
    assert "one: left out, as all rows have one value" in printed
    run = tmp_path / "runs" / "tabular" / "latest"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test_accuracy"] > max(0.8, metrics["guess_accuracy"])
    assert (run / "tabular.png").read_bytes().startswith(b"\x89PNG")
    assert "table (5,): a, b, kind" in typed("funcnet", "info", "runs/tabular")
    document = json.loads(typed("funcnet", "predict", "runs/tabular", "data.csv", "--json"))
    assert document["known"] == 90
    assert document["accuracy"] > 0.8


def test_everything_is_learned_from_the_training_rows(tmp_path):
    """A wild value in the held-out part changes no mean, no median and no category."""
    path = written(tmp_path / "data.csv")
    before = tabular.load(config(path), 0)
    inputs = before.spec.inputs
    assert isinstance(inputs, Table)
    kept = before.dataset.x_train
    np.testing.assert_allclose(kept.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(kept.std(axis=0), 1, rtol=1e-5)
    lines = path.read_text().splitlines()
    held_out = before.dataset.x_test[:, 2]  # b, standardised: it tells the rows apart
    for i, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        if np.isclose(held_out, (float(cells[1]) - inputs.mean[2]) / inputs.std[2], rtol=1e-5, atol=1e-5).any():
            lines[i] = ",".join([cells[0], "1e9", "green", *cells[3:]])
    path.write_text("\n".join(lines) + "\n")
    after = tabular.load(config(path), 0)
    assert after.spec == before.spec
    np.testing.assert_array_equal(after.dataset.x_train, kept)
    assert (after.dataset.x_test[:, 2] > 1e6).all()
    assert set(after.dataset.x_test[:, 3].tolist()) != set(before.dataset.x_test[:, 3].tolist())


def test_the_target_decides_the_task(tmp_path):
    path = written(tmp_path / "data.csv")
    classes = tabular.load(config(path), 0).spec
    assert (classes.classes, classes.target, tabular.kind_of(classes)) == (("no", "yes"), "answer", "classification")
    price = tabular.load(config(path, target="price", leave_out=("answer",)), 0)
    assert tabular.kind_of(price.spec) == "regression"
    assert price.spec.mean == pytest.approx(price.dataset.y_train.mean())
    path.write_text("x,y\n" + "".join(f"{i * 0.37 % 1},{i % 3}\n" for i in range(60)))
    assert tabular.load(config(path, target="y", leave_out=()), 0).spec.classes == ("0", "1", "2")
    assert not tabular.load(config(path, target="y", leave_out=(), task="regression"), 0).spec.classes


def test_a_regression_is_better_than_the_mean(tmp_path, capsys):
    path = written(tmp_path / "data.csv", rows=300)
    found = config(path, target="price", leave_out=("answer",), seeds=2)
    tabular.main(found, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test_r2"] > 0.8 > 0.05 > metrics["guess_r2"]
    assert metrics["test_rmse"] < metrics["guess_rmse"]
    assert metrics["test_r2_std"] >= 0
    assert "linear model  rmse" in capsys.readouterr().out


def test_rows_without_a_target_are_left_out_and_said(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"{i * 0.37 % 1},{'abc'[i % 3]}" for i in range(60)]
    path.write_text("\n".join(["x,y", *rows, "1,", "2,?", "3,lonely", ""]))
    loaded = tabular.load(config(path, target="y", leave_out=()), 0)
    assert loaded.said == [
        "y: 2 of 63 values missing; these rows are left out",
        "y: left out, as they stand in one row each: lonely",
    ]
    assert loaded.spec.classes == ("a", "b", "c")
    assert sum(map(len, (loaded.dataset.y_train, loaded.dataset.y_test))) == 60


BAD = [
    ("x,y\n1,2\n", {}, r"data\.csv has no column 'answer'; it has x, y$"),
    ("x;answer\n1;2\n", {}, r"has no column 'answer'; it has x;answer; is --separator right\?$"),
    ("x,answer\n" + "1,a\n2,b\n" * 5, {}, "has 10 rows to use, with 2 values of answer; expected at least 20 rows"),
    ("x,answer\n" + "1,a\n" * 30, {}, "has 30 rows to use, with 1 values of answer; expected"),
    ("x,answer\n" + "".join(f"{i},n{i}\n" for i in range(30)), {}, "has 0 rows to use, with 0 values of answer"),
    ("x,answer\n" + "".join(f"{i},n{i % 60}\n" for i in range(240)), {}, "answer has 60 classes; expected at most 50"),
    ("x,answer\n" + "1,a\n1,b\n" * 30, {}, "has no column to learn from: x: left out, as all rows have one value"),
    ("answer\n" + "a\nb\n" * 30, {}, "has no column to learn from: no other"),
    ("x,answer\n" + "1,a\n2,b\n" * 30, {"task": "regression"}, "--task regression: answer holds 'a', no number"),
    ("x,answer\n" + "1,1e300\n2,2.5\n" * 30, {"task": "regression"}, r"answer holds 1e\+300; expected at most 1e\+30"),
    ("x,answer\n" + "1,a\n2,b\n" * 30, {"held_out": 0.01}, "--held-out 0.01: "),
]


@pytest.mark.parametrize(("content", "settings", "message"), BAD, ids=[message[:35] for *_, message in BAD])
def test_a_table_that_teaches_nothing_is_one_line(content, settings, message, tmp_path):
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(harness.InputError, match=message) as caught:
        tabular.load(config(tmp_path / "data.csv", leave_out=(), **settings), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 0.0}, "--held-out is a share below 1; got 0.0"),
        ({"held_out": 1.0}, "--held-out is a share below 1; got 1.0"),
        ({"separator": ",,"}, "--separator is one character; got ',,'"),
        ({"patience": 0}, "--patience is at least 1; got 0"),
        ({"weight_decay": -1.0}, "--weight-decay is at least 0"),
    ],
)
def test_bad_settings_are_blamed_by_their_flag(settings, message, tmp_path):
    with pytest.raises(harness.InputError, match=f"^{message}"):
        config(tmp_path / "data.csv", **settings)
