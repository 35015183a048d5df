"""The worked examples: all agree, and none does so whatever it computes."""

import inspect
import json

import jax
import numpy as np
import pytest

from experiments import examples, worked_examples
from experiments.examples import worked
from funcnet import Rule, data, ops
from funcnet.data.idx import DataError

BY_ITEM = {(worked.item, worked.function.__name__): worked for worked in examples.EXAMPLES}
NUMBERS = [worked for worked in examples.EXAMPLES if not worked.drawn]


@pytest.fixture(autouse=True)
def defaults():
    """What users have, where the other tests are strict."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def nudged(value):
    """A default argument with its first number changed: what a slip of the pen would do."""
    if isinstance(value, list):
        return [nudged(value[0]), *value[1:]]
    return value + 1 if isinstance(value, int) else value + 0.01


@pytest.mark.slow
def test_an_example_agrees_and_with_one_input_changed_does_not():
    """One after the other, so that what JAX has compiled for one serves for the next."""
    for entry in NUMBERS:
        row = worked.work_out(entry, np.random.default_rng(0))
        assert row.agrees, row
        name, parameter = next(iter(inspect.signature(entry.function).parameters.items()))
        spoiled = entry._replace(function=lambda f=entry.function, slip={name: nudged(parameter.default)}: f(**slip))
        assert not worked.work_out(spoiled, np.random.default_rng(0)).agrees, f"{row.item}, {row.what}: {name}"


@pytest.mark.slow
def test_a_law_holds_for_other_inputs_and_not_for_another_rule(monkeypatch):
    """All rules give a thousandth too much: only shapes, and what is no number, may be as they were."""
    laws = [entry for entry in examples.EXAMPLES if entry.drawn]
    for entry in laws:
        assert worked.work_out(entry, np.random.default_rng(7)).agrees, entry.what

    def too_much(rule):
        def more(tree):
            return jax.tree.map(lambda leaf: leaf * 1.001, tree)

        return Rule(lambda *args: (more(rule.fwd(*args)[0]), rule.fwd(*args)[1]), lambda *args: more(rule.bwd(*args)))

    for name in ("dense", "relu", "sigmoid", "tanh", "softmax"):
        monkeypatch.setattr(ops, name, too_much(getattr(ops, name)))
    for name in ("mean_squared_error", "softmax_cross_entropy", "categorical_cross_entropy"):
        factory = getattr(ops, name)
        monkeypatch.setattr(ops, name, lambda *args, f=factory: too_much(f(*args)))
    untouched = {entry.what for entry in laws if worked.work_out(entry, np.random.default_rng(7)).agrees}
    assert untouched == {
        "the shape of that loss: a scalar",
        "their shapes: (m,h), (h,), (N,m), (N,K), (N,K)",
        "shapes: (m,n)(n,p) → (m,p)",
        "every gradient has the shape of its parameter",
        "f(x) + f(−x) = 2f(0) without ReLU between; not with it",
    }


@pytest.mark.parametrize(
    ("published", "computed", "decimals", "agrees"),
    [
        ([0.12], [0.1249], 2, True),
        ([0.12], [0.1251], 2, False),
        ([0.12, np.inf], [0.12, np.inf], 2, True),
        ([0.12], [np.nan], 2, False),
        ([1.0], [np.inf], 2, False),
        ([0.12], [[0.12]], 2, False),
        ([38.52], [38.519999999999996], 17, True),  # one unit in the last place
        ([38.52], [38.51999999999998], 17, False),
        ((3, 5), (3, 5), 0, True),
        ((3, 5), (3, 5, 1), 0, False),
        ("ShapeError", "no error", 0, False),
    ],
)
def test_what_agrees(published, computed, decimals, agrees):
    entry = worked.example("000", "a test", decimals)(lambda: (published, computed))
    assert worked.work_out(entry, np.random.default_rng(0)).agrees == agrees


def test_a_quick_run_leaves_a_table_metrics_and_a_picture(tmp_path, capsys):
    worked_examples.main(worked_examples.Config(quick=True, seeds=2), tmp_path)
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    expected = examples.EXAMPLES[::4]
    assert (metrics["examples"], metrics["agree"]) == (len(expected), len(expected))
    assert [row["item"] for row in metrics["per_seed"][1]["rows"]] == [entry.item for entry in expected]
    assert f"{2 * len(expected)} of {2 * len(expected)} agree" in printed
    assert (tmp_path / "worked_examples.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_that_is_off_is_status_1(tmp_path, capsys, monkeypatch):
    entry = BY_ITEM["002a", "three_inputs"]
    spoiled = entry._replace(function=lambda: entry.function(x=[1.2, 2.3, 3.2]))
    monkeypatch.setattr(examples, "EXAMPLES", [spoiled, BY_ITEM["003d", "cross_entropy_of_certainty"]])
    monkeypatch.setattr(data, "mnist", lambda data_dir: data.Dataset(*map(np.zeros, (3, 3, 2, 2))))
    with pytest.raises(SystemExit) as stopped:
        worked_examples.main(worked_examples.Config(), tmp_path)
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "1 of 3 agree" in printed.out
    assert "off: 002a, a neuron of three inputs: 39.39 is not 38.519999999999996" in printed.err
    assert "off: 001e, MNIST from its IDX files: the shapes: (3,) (3,) (2,) (2,) is not (60000,28,28)" in printed.err
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert [(row["item"], row["agrees"]) for row in rows] == [("001e", False), ("002a", False), ("003d", True)]
    assert rows[2]["computed"][2] == "inf"


def test_mnist_is_left_out_unless_it_was_asked_for(monkeypatch, capsys, tmp_path):
    def nowhere(data_dir):
        raise DataError("no network")

    monkeypatch.setattr(data, "mnist", nowhere)
    assert worked_examples.chosen(worked_examples.Config()) == examples.EXAMPLES
    assert "001e is left out: MNIST cannot be read: no network" in capsys.readouterr().err
    with pytest.raises(DataError):
        worked_examples.chosen(worked_examples.Config(data_dir=tmp_path))
