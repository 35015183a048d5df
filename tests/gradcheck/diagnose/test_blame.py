"""Which leaf is blamed, and what is said of a whole leaf that is off by one factor."""

import jax
import jax.numpy as jnp
import pytest

from funcnet import gradcheck
from tests.gradcheck import forwards_others as forwards


def test_the_leaf_that_is_wrong_is_blamed_and_not_one_that_is_off_by_rounding():
    def bwd(residuals, dy):
        dq, dk, dv = forwards.attend.bwd(residuals, dy)
        return dq * (1 + 5e-10), 2 * dk, dv

    (finding,) = gradcheck.check((forwards.attend.fwd, bwd)).findings
    assert (finding.argument, finding.mistake) == ("k", "counted-twice")
    assert finding.evidence == ("dq is off too, by 5e-10 of its largest entry",)


@pytest.mark.parametrize(
    ("factor", "mistake", "says"),
    [
        (lambda s: s, "wrong-scale", "is s times the right gradient"),
        (lambda s: 1 / s, "wrong-scale", "is 1/s times the right gradient"),
        (lambda s: 0.3, "wrong-scale", "is 0.3 times the right gradient"),
        (lambda s: -1, "sign-flipped", "has the wrong sign"),
    ],
)
def test_a_factor_that_no_line_holds(factor, mistake, says):
    fwd = forwards.backward_scale.fwd
    (finding,) = gradcheck.check((fwd, lambda s, dy: (dy * factor(s), jnp.zeros_like(s)))).findings
    assert (finding.argument, finding.mistake, finding.explanation, finding.line) == ("x", mistake, says, None)


@pytest.mark.parametrize("static", [False, True])
def test_a_factor_that_is_not_differentiated(static):
    scale = jax.custom_vjp(lambda x, s: x, nondiff_argnums=(1,) if static else ())
    scale.defvjp(lambda x, s: (x, s), (lambda s, _, dy: (dy * s,)) if static else (lambda s, dy: (dy * s, None)))
    (finding,) = gradcheck.check(scale, jnp.arange(1.0, 6), 3.0 if static else jnp.array(3.0)).findings
    assert (finding.argument, finding.mistake) == ("x", "wrong-scale")
    assert finding.explanation == "is s times the right gradient"


def test_a_factor_that_two_branches_share():
    """exp(−x), the slope of exp and of expm1 alike, is no factor of the line that chooses between them."""

    def log1mexp(x):
        near = jnp.log(-jnp.expm1(-x))
        far = jnp.log1p(-jnp.exp(-x))
        return jnp.where(x < 0.7, near, far), x

    (finding,) = gradcheck.check((log1mexp, lambda x, dy: (-dy / jnp.expm1(-x),)), jnp.linspace(0.1, 2, 7)).findings
    assert (finding.mistake, finding.source) == ("missing-factor", "far = jnp.log1p(-jnp.exp(-x))")
