"""Exact zeros and ties: any slope between those on either side is right, and the report says which was taken."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import gradcheck
from funcnet.types import Rule

RELU = lambda x: (jnp.maximum(x, 0), x)  # noqa: E731
MAX = lambda x: (x.max(axis=-1), x)  # noqa: E731


def relu_bwd(slope):
    return lambda x, dy: (jnp.where(x > 0, dy, jnp.where(x == 0, slope * dy, 0)),)


def max_bwd(share):
    def bwd(x, dy):
        largest = x == x.max(axis=-1, keepdims=True)
        return (share(largest.astype(x.dtype)) * dy[:, None],)

    return bwd


CONVENTIONS = [
    (Rule(RELU, relu_bwd(0.0)), "at exact zeros dx takes the slope from below"),
    (Rule(RELU, relu_bwd(0.5)), "at exact zeros dx takes the mean of both slopes"),
    (Rule(RELU, relu_bwd(1.0)), "at exact zeros dx takes the slope from above"),
    (Rule(MAX, max_bwd(lambda m: m / m.sum(axis=-1, keepdims=True))), "at ties dx is shared evenly"),
    (Rule(MAX, max_bwd(lambda m: jnp.where(jnp.cumsum(m, axis=-1) == 1, m, 0))), "at ties dx goes to one of the tied"),
]


@pytest.mark.parametrize(("rule", "note"), CONVENTIONS)
def test_every_convention_is_right_and_is_named(rule, note):
    report = gradcheck.check(rule, "N D", dtypes=())
    assert report.verdict == "correct"
    assert note in report.notes


WRONG = [
    (Rule(RELU, relu_bwd(1.5)), "at exact zeros: got"),
    (Rule(RELU, relu_bwd(jnp.nan)), "at exact zeros: got nan"),
    (Rule(MAX, max_bwd(lambda m: m)), "at ties the shares do not add up"),  # each of the tied gets all
    (
        Rule(MAX, max_bwd(lambda m: jnp.where(m.sum(axis=-1, keepdims=True) == 1, m, 0))),
        "at ties the shares do not add up",
    ),
]


@pytest.mark.parametrize(("rule", "text"), WRONG)
def test_what_lies_beyond_the_slopes_is_wrong(rule, text):
    report = gradcheck.check(rule, "N D", dtypes=())
    assert report.verdict == "wrong"
    assert report.findings[0].mistake == "wrong-mask"
    assert text in report.findings[0].explanation


def test_at_the_callers_own_zeros_another_convention_is_right_and_another_slope_is_not():
    x = np.linspace(-2, 2, 5)
    assert gradcheck.check(Rule(RELU, relu_bwd(1.0)), x, dtypes=()).verdict == "correct"
    assert gradcheck.check(Rule(RELU, relu_bwd(1.01)), x, dtypes=()).verdict == "wrong"
    assert gradcheck.check(Rule(RELU, lambda x, dy: (jnp.where(x > -1.5, dy, 0),)), x, dtypes=()).verdict == "wrong"


def test_a_smooth_function_has_no_kinks_and_no_notes():
    assert gradcheck.check(Rule(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x),)), "N").notes == ()
