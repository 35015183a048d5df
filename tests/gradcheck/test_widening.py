"""Rules that compute in float32 whatever they are given."""

import jax
import jax.numpy as jnp
import pytest

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
