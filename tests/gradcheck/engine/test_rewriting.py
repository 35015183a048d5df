"""Rules that compute in float32 whatever they are given."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from funcnet import gradcheck
from funcnet.types import Rule


def fwd(x, gain):
    h = x.astype(jnp.float32)
    c = h - h.mean(axis=-1, keepdims=True)
    rms = jnp.sqrt((c * c).mean(axis=-1, keepdims=True) + 1e-5)
    return (gain * (c / rms).astype(x.dtype)), (c / rms, rms, gain)


def bwd(residuals, dy, factor=1.0):
    xhat, rms, gain = residuals
    d = (gain * dy).astype(jnp.float32)
    dx = (d - d.mean(axis=-1, keepdims=True) - xhat * (d * xhat).mean(axis=-1, keepdims=True)) / rms
    return (factor * dx).astype(dy.dtype), jnp.sum(dy * xhat.astype(dy.dtype), axis=0)


@pytest.fixture(autouse=True)
def as_users_have_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
def test_a_right_rule_is_correct():
    report = gradcheck.check(Rule(fwd, bwd), "N D", "D")
    assert report.verdict == "correct"
    assert "judged with all in float64" in report.notes[0]
    assert report.ulps.keys() == {"float32"}


def test_an_error_below_its_own_arithmetic_is_seen():
    """1e-8 is less than a rounding unit of float32."""
    wrong = gradcheck.check(Rule(fwd, lambda r, dy: bwd(r, dy, 1 + 1e-8)), "N D", "D")
    assert (wrong.verdict, wrong.findings[0].argument) == ("wrong", "x")


def test_casts_inside_jit_and_custom_derivatives_are_widened_too():
    def soft(x):
        return jax.jit(jax.nn.silu)(x.astype(jnp.float32)).astype(x.dtype)

    def slope(x):
        s = jax.nn.sigmoid(x.astype(jnp.float32))
        return (s * (1 + x * (1 - s))).astype(x.dtype)

    assert gradcheck.check(Rule(lambda x: (soft(x), x), lambda x, dy: (dy * slope(x),)), "N D").verdict == "correct"


def scan(x):
    def turn(carry, row):
        carry = 0.5 * carry + row.astype(jnp.float32)
        return carry, carry

    return lax.scan(turn, jnp.zeros(x.shape[1:], jnp.float32), x)[1].astype(x.dtype)


def scan_bwd(x, dy):
    return (scan(dy[::-1])[::-1],)


def fourth_power(x):
    y = x.astype(jnp.float32)
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * y), (0, y))[1].astype(x.dtype)


def fourth_power_bwd(x, dy):
    return ((4 * x.astype(jnp.float32) ** 3).astype(x.dtype) * dy,)


def branch(x):
    y = x.astype(jnp.float32)
    return lax.cond(x.sum() < jnp.inf, lambda v: v * v, lambda v: v, y).astype(x.dtype)


def branch_bwd(x, dy):
    return ((2 * x.astype(jnp.float32)).astype(x.dtype) * dy,)


INSIDE = {"scan": (scan, scan_bwd), "while": (fourth_power, fourth_power_bwd), "cond": (branch, branch_bwd)}


@pytest.mark.slow
@pytest.mark.parametrize("name", INSIDE)
def test_loops_and_branches_are_widened_inside(name):
    f, f_bwd = INSIDE[name]
    assert gradcheck.check(Rule(lambda x: (f(x), x), f_bwd), "T D").verdict == "correct"
    wrong = gradcheck.check(Rule(lambda x: (f(x), x), lambda x, dy: (f_bwd(x, dy)[0] * (1 + 1e-8),)), "T D")
    assert wrong.verdict == "wrong"
    assert wrong.findings[0].file in (None, __file__)  # never a line of the checker itself


def test_the_line_is_that_of_the_forward_and_not_of_the_checker():
    wrong = gradcheck.check(Rule(lambda x: (scan(x), x), lambda x, dy: (2 * scan_bwd(x, dy)[0],)), "T D")
    assert (wrong.findings[0].file, wrong.findings[0].source) == (
        __file__,
        "carry = 0.5 * carry + row.astype(jnp.float32)",
    )


def test_a_constant_that_was_rounded_to_float32_blames_nobody():
    tenth = lambda x: (x * jnp.float32(0.1), ())  # noqa: E731
    report = gradcheck.check(Rule(tenth, lambda _, dy: (dy * 0.1,)), "N")
    assert report.verdict == "inconclusive"
    assert "holds the constant 0.10000000149011612, which was rounded to float32" in report.notes[0]
    assert gradcheck.check(Rule(tenth, lambda _, dy: (dy * jnp.float32(0.1),)), "N").verdict == "correct"
    assert gradcheck.check(Rule(tenth, lambda _, dy: (dy * 0.100001,)), "N").verdict == "wrong"


def test_narrower_floats_inside_are_no_fault_of_the_compiler():
    def product(a, b):
        return (a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16)).astype(a.dtype)

    rule = Rule(lambda x, w: (product(x, w), (x, w)), lambda r, dy: (product(dy, r[1].T), product(r[0].T, dy)))
    assert gradcheck.check(rule, "N I", "I O").verdict == "correct"
