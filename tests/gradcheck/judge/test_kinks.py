"""Exact zeros and ties: any slope between those on either side is right, and the report says which was taken."""

import jax
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
    assert report.findings[0].mistake == ("not-finite" if "nan" in text else "wrong-mask")
    assert text in report.findings[0].explanation


@pytest.mark.slow
@pytest.mark.parametrize("relu", [lambda x: jnp.maximum(x, 0), jax.nn.relu], ids=["max", "jax.nn.relu"])
def test_at_the_callers_own_zeros_another_convention_is_right_and_another_slope_is_not(relu):
    """In every dtype: the values lie at kinks there too."""
    x = np.linspace(-2, 2, 35).reshape(7, 5)
    x[3, 2], x[0] = 0, 0
    all_dtypes = (jnp.float32, jnp.bfloat16, jnp.float16)
    for slope in (0.0, 0.5, 1.0):
        rule = Rule(lambda x: (relu(x), x), relu_bwd(slope))
        assert gradcheck.check(rule, x, dtypes=all_dtypes).verdict == "correct"
    assert gradcheck.check(Rule(RELU, relu_bwd(1.01)), x, dtypes=()).verdict == "wrong"
    assert gradcheck.check(Rule(RELU, lambda x, dy: (jnp.where(x > -1.5, dy, 0),)), x, dtypes=()).verdict == "wrong"


def test_values_that_tie_in_a_narrow_dtype_alone_are_at_a_kink():
    to_the_first = Rule(MAX, max_bwd(lambda m: jnp.where(jnp.cumsum(m, axis=-1) == 1, m, 0)))
    x = np.arange(256) / 1000 + 1  # many of them are one number in bfloat16
    assert gradcheck.check(to_the_first, np.stack([x, -x]), dtypes=(jnp.bfloat16,)).verdict == "correct"


def softplus_bwd(x, dy):
    return (dy * jnp.exp(x) / (1 + jnp.exp(x)),)


def masked_softmax(x, mask):
    e = jnp.where(mask, jnp.exp(x), 0)
    total = e.sum(axis=-1, keepdims=True)
    p = e / jnp.where(total == 0, 1, total)
    return p, (p, mask)


def masked_softmax_bwd(share):
    def bwd(residuals, dy):
        p, mask = residuals
        return share(mask) * p * (dy - (p * dy).sum(axis=-1, keepdims=True)), None

    return bwd


LARGER = lambda a, b: (jnp.maximum(a, b), (a, b))  # noqa: E731
# Each is right on random inputs: (rule, shapes, what is found)
ELSEWHERE = {
    "both of two that tie": (
        Rule(LARGER, lambda r, dy: (jnp.where(r[0] >= r[1], dy, 0), jnp.where(r[1] >= r[0], dy, 0))),
        ("N", "N"),
        "at ties between arguments the shares do not add up",
    ),
    "0/0": (Rule(lambda x: (x**3, x), lambda x, dy: (3 * x**3 / x * dy,)), ("N",), "at exact zeros: got nan"),
    "a cap": (Rule(lambda x: (jnp.clip(x, 0, 6), x), relu_bwd(0.0)), ("N D",), "at large values: got"),
    "overflow": (Rule(lambda x: (jax.nn.softplus(x), x), softplus_bwd), ("N D",), "at extreme values: got nan"),
    "an empty row of a mask": (
        Rule(
            masked_softmax, masked_softmax_bwd(lambda m: m.sum(axis=-1, keepdims=True) / m.sum(axis=-1, keepdims=True))
        ),
        ("N D", "N D:bool"),
        "at a row of each mask wholly False: got nan",
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_random_inputs_do_not_show_is_found(name):
    rule, shapes, text = ELSEWHERE[name]
    with np.errstate(invalid="ignore", over="ignore"):
        report = gradcheck.check(rule, *shapes, dtypes=())
    assert report.verdict == "wrong"
    assert text in report.findings[0].explanation


SHARED = {
    "to the first": lambda r, dy: (jnp.where(r[0] >= r[1], dy, 0), jnp.where(r[1] > r[0], dy, 0)),
    "evenly": lambda r, dy: tuple(dy * (jnp.sign(a - b) + 1) / 2 for a, b in (r, r[::-1])),
}


@pytest.mark.parametrize("how", SHARED)
def test_ties_between_arguments_may_be_shared_in_any_way(how):
    assert gradcheck.check(Rule(LARGER, SHARED[how]), "N", "N", dtypes=()).verdict == "correct"


def test_what_is_right_elsewhere_too_is_correct():
    cap = Rule(lambda x: (jnp.clip(x, 0, 6), x), lambda x, dy: (jnp.where((x > 0) & (x < 6), dy, 0),))
    assert gradcheck.check(cap, "N D").verdict == "correct"
    assert (
        gradcheck.check(Rule(masked_softmax, masked_softmax_bwd(lambda m: 1)), "N D", "N D:bool").verdict == "correct"
    )


def test_a_smooth_function_has_no_kinks_and_no_notes():
    assert gradcheck.check(Rule(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x),)), "N").notes == ()
