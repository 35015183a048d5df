"""What the arguments of a backward are, and whose gradient it returns, told by names."""

import numpy as np
import pytest

from funcnet.gradcheck.trial.conventions import called_by, in_order, means, plans_for, returned_names

X, W = np.ones((2, 3)), np.ones((3, 4))


@pytest.mark.parametrize("key", ["dw", "dW", "d_w", "dL_dw", "dC_dW", "grad_w", "w_grad", "w_gradient", "w", "W"])
def test_names_of_a_gradient(key):
    assert means(key, "w")
    assert not means(key, "b")
    assert not means("dwx", "w")


@pytest.mark.parametrize(("key", "name"), [("dweights", "weights"), ("weight_grad", "weights"), ("dbias", "bias")])
def test_a_plural_may_be_meant(key, name):
    assert means(key, name)


PLANS = [
    (lambda dout, cache: 0, [["dy", "cache"]]),
    (lambda cache, grad_output: 0, [["cache", "dy"]]),
    (lambda dnext_h, dnext_c, cache: 0, [["dy", "dy", "cache"]]),
    (lambda dvalues: 0, [["dy"]]),
    (lambda upstream, x: 0, [["dy", "x"]]),
    (lambda dout, out: 0, [["dy", "y"]]),
    (lambda dC_da, learning_rate: 0, [["dy", "rate"]]),
    (lambda w, x: 0, [["w", "x"]]),
    (lambda dout, cache, keep=0.5: 0, [["dy", "cache"]]),
    (lambda dout, thing: 0, [["dy", "cache"], ["dy", "dy"]]),
    (lambda this, that: 0, [["dy", "cache"], ["dy", "dy"], ["cache", "dy"]]),
]


@pytest.mark.parametrize(("backward", "plans"), PLANS)
def test_the_arguments_of_a_backward_are_told_by_their_names(backward, plans):
    found = plans_for(backward, ("x", "w"))
    assert [plan for i, plan in enumerate(found) if plan not in found[:i]] == plans


def test_the_plan_that_runs_and_is_linear_is_kept():
    plans = plans_for(lambda p, q: 0, ())
    values = {"dy": X, "cache": 2 * X}
    np.testing.assert_array_equal(called_by(plans, lambda p, q: np.cos(p) * q, values), np.cos(2 * X) * X)
    assert plans == [["cache", "dy"]]


def returns_dw(dout, cache):
    dw = dout.copy()
    dw += cache
    return dw


def returns_more(dout, cache):
    if dout is None:
        return None
    dx, dw = dout, cache
    return dx, dw


RETURNED = [
    ((1, 2), {"x": 1, "w": 2}),
    ([1, 2], {"x": 1, "w": 2}),
    ((1,), None),
    ((1, 2, 3), {"x": 1, "w": 2, "n": 3}),
    ((1, 2, 3, 4), None),
    (1, {"w": 1}),
    (None, {}),
    ({"dw": 1, "x": 2}, {"x": 2, "w": 1, "n": None}),
]


@pytest.mark.parametrize(("returned", "by_name"), RETURNED)
def test_whose_gradient_is_whose(returned, by_name):
    names = ("x", "w", "n")
    assert in_order(names, (X, W, 5), names, returned, returns_dw) == by_name


def test_the_names_of_the_last_return():
    assert returned_names(returns_more) == ["dx", "dw"]
    assert returned_names(np.exp) == []
