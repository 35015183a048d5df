"""Every rule by the derivation checker, at several ranks."""

import jax
import jax.numpy as jnp
import pytest

from funcnet import gradcheck, ops
from tests.cases import RULES, case_id


@pytest.mark.parametrize("batch", [(11,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("case", RULES, ids=case_id)
def test_backward_is_the_vjp_of_the_forward(case, batch):
    gradcheck.assert_correct(case.rule, *case.args(batch), dtypes=(jnp.float32,) if len(batch) == 1 else ())


@pytest.mark.parametrize("case", RULES, ids=case_id)
def test_forward_and_backward_may_be_jitted_apart_and_mapped(case):
    args = case.args((3,))
    y, residuals = jax.jit(case.rule.fwd)(*args)
    dy = jax.tree.map(lambda a: a + 0.5, y)
    apart = jax.jit(case.rule.bwd)(residuals, dy)
    together = case.rule.bwd(case.rule.fwd(*args)[1], dy)
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.allclose(a, b, rtol=1e-12, atol=1e-14), apart, together))


def test_every_public_rule_has_a_case():
    assert {case.name for case in RULES} == set(ops.__all__)
