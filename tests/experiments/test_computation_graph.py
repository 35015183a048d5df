"""The reverse mode of the computation graph: against formulas, against itself by differences, and a planted mistake."""

import itertools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import computation_graph, harness
from experiments.computation_graph import FUNCTION, OPERATIONS, Step, backward, forward


def test_the_function_of_the_notes():
    values = forward(FUNCTION, {"x": 5.0, "2": 2.0, "y": 3.0, "z": -7.0})
    gradients = backward(FUNCTION, values)
    assert values["f"] == 5 * (2 * 3 - 7)
    assert {name: gradients[name] for name in ("x", "y", "z", "2")} == {"x": -1, "y": 10, "z": 5, "2": 15}


def test_a_node_that_is_used_twice_gets_both_gradients():
    steps = [Step("a", "", (), (0, 0)), Step("b", "×", ("a", "a"), (0, 0)), Step("c", "+", ("b", "a", "a"), (0, 0))]
    assert backward(steps, forward(steps, {"a": 3.0}))["a"] == 2 * 3 + 2


@pytest.mark.parametrize("name", OPERATIONS)
def test_partials_are_the_slopes_of_the_values(name):
    operation, h = OPERATIONS[name], 1e-6
    at = (0.7, 1.3) if name in "+−×" else (0.7,)
    for i, partial in enumerate(operation.partials(*at)):
        ahead, behind = ([a + s * (j == i) for j, a in enumerate(at)] for s in (h, -h))
        assert partial == pytest.approx((operation.value(*ahead) - operation.value(*behind)) / (2 * h), rel=1e-8)


def test_a_run_agrees_and_leaves_both_graphs(tmp_path, capsys):
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        computation_graph.main(computation_graph.Config(seeds=2), tmp_path)
    printed = capsys.readouterr().out
    assert "df/dy          2x                   4            4               4" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for run in metrics["per_seed"]:
        assert len(run["network"]) == 33
        logits = [run["network"][f"z^2_{j}"]["value"] for j in (1, 2)]
        p = 1 / (1 + np.exp(logits[1] - logits[0]))
        assert run["loss"] == pytest.approx(-np.log(p))
        assert run["network"]["z^2_1"]["gradient"] == pytest.approx(p - 1)  # softmax − target
    for name, nodes in (("function.svg", 7), ("network.svg", 33)):
        assert (tmp_path / name).read_text().count('id="patch_') >= nodes
    with Image.open(tmp_path / "network.gif") as animation:
        assert animation.n_frames == 20  # ten columns forward, ten back


def test_gradients_come_after_those_of_their_users(monkeypatch, tmp_path):
    shown = []

    def plot(axes, title, steps, values, gradients, partials, moving, colour):
        shown.append((set(values), set(gradients)))

    monkeypatch.setattr(computation_graph.graph, "_plot", plot)
    values = forward(FUNCTION, {"x": 5.0, "2": 2.0, "y": 3.0, "z": -7.0})
    computation_graph.graph.animate(tmp_path / "a.gif", "f", FUNCTION, values, backward(FUNCTION, values))
    users = {step.name: {user.name for user in FUNCTION if step.name in user.inputs} for step in FUNCTION}
    for (before, earlier), (now, later) in itertools.pairwise(shown):
        assert before <= now
        assert earlier <= later
        for name in now - before:
            assert not users[name] & before
        for name in later - earlier:
            assert users[name] <= earlier
    assert shown[-1] == ({*values}, {*values})


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_the_network_agrees_with_the_rules_and_with_autodiff(activation):
    with jax.numpy_rank_promotion("allow"):
        found = computation_graph.whole_network(activation, 3, None)
    assert max(found["network_difference"], found["network_difference_jax"]) < 1e-15


def test_a_wrong_partial_is_status_1(monkeypatch, tmp_path):
    wrong = OPERATIONS["sigmoid"]._replace(partials=lambda a: (a * (1 - a),))  # of the input, not the output
    monkeypatch.setitem(OPERATIONS, "sigmoid", wrong)
    for drawing in ("draw", "animate"):
        monkeypatch.setattr(computation_graph.graph, drawing, lambda *settings: None)
    with jax.numpy_rank_promotion("allow"), pytest.raises(SystemExit, match="a derivation is wrong"):
        computation_graph.main(computation_graph.Config(), tmp_path)


def test_a_point_that_is_none():
    with pytest.raises(harness.InputError, match="--point is three finite numbers"):
        computation_graph.Config(point=(1.0, float("nan"), 0.0))
