"""Slopes by small steps: what each formula errs by, where its best step lies, and what a run says."""

import json

import numpy as np
import pytest

from experiments import slopes
from experiments.slopes import METHODS, OF_THE_NOTE

POINTS = np.random.default_rng(0).uniform(-1, 1, 200)


@pytest.mark.parametrize(
    ("name", "error"), [("forward", 0.5 / 2), ("central", 0.5**2 / 6), ("Richardson", -(0.5**4) / 480)]
)
def test_the_error_of_each_formula_is_its_next_term(name, error):
    """On a polynomial of the degree where it is the whole error: x²/2!, x³/3! and x⁵/5!, whose slopes at 0 are 0."""
    power = METHODS[name].order + 1
    f = lambda x: x**power / float(np.prod(range(1, power + 1)))  # noqa: E731
    assert METHODS[name].slope(f, 0.0, 0.5) == pytest.approx(error, rel=1e-12)


def test_the_complex_step_loses_nothing():
    assert slopes.complex_step(np.exp, 0.3, 1e-200) == pytest.approx(np.exp(0.3), rel=1e-15)


@pytest.mark.parametrize(("what", "f", "x", "slope"), OF_THE_NOTE)
def test_the_note(what, f, x, slope):
    assert slopes.central(f, x, 0.25) == slope  # of a square there is no error but rounding
    assert slopes.forward(f, x, 0.25) == slope + (0.25 if what.startswith("x²") else 0)


@pytest.mark.parametrize("dtype", slopes.DTYPES)
@pytest.mark.parametrize("name", METHODS)
def test_the_best_step_is_where_theory_has_it(name, dtype):
    curve, method, u = slopes.curve(name, dtype, "exp", POINTS), METHODS[name], slopes.unit(dtype)
    step, error = curve.best()
    assert 0.25 < step / method.best_step(u) < 5
    assert 0.05 < error / method.best_error(u) < 2
    assert curve.order() == pytest.approx(method.order, abs=0.06)
    smallest = curve.errors[-9]  # ε = u: what cancels has nothing left, the rest is as good as ever
    assert smallest > 0.1 if method.cancels else smallest < u


def test_a_run(tmp_path, capsys):
    slopes.main(slopes.Config(quick=True, seeds=2, function="tanh"), tmp_path)
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("wrote")[0].splitlines())) <= 80
    assert "2ac + 3b by a: 2c       20" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["config"]["points"] == 100
    assert metrics["float64 central: order"] == pytest.approx(2, abs=0.02)
    assert metrics["float64 central: order_std"] >= 0
    assert {(curve["method"], curve["dtype"]) for curve in metrics["curves"]} == {
        (method, dtype) for method in METHODS for dtype in slopes.DTYPES
    }
    assert (tmp_path / "slopes.png").read_bytes().startswith(b"\x89PNG")
