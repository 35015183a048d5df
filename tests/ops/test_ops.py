"""Every rule by the derivation checker, at several ranks."""

import jax
import jax.numpy as jnp
import pytest

from funcnet import gradcheck, ops
from tests.cases import RULES, case_id
from tests.trees import assert_is_vjp


@pytest.mark.parametrize("batch", [(11,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("case", [case for case in RULES if not case.long], ids=case_id)
def test_backward_is_the_vjp_of_the_forward(case, batch):
    gradcheck.assert_correct(case.rule, *case.args(batch), dtypes=(jnp.float32,) if len(batch) == 1 else ())


@pytest.mark.parametrize("case", [case for case in RULES if case.long], ids=case_id)
def test_long_backward_is_the_vjp_of_the_forward(case):
    """By plain comparison: the checker is slow on many operations; `funcnet check` runs it on these."""
    assert_is_vjp(case.rule.fwd, case.rule.bwd, case.args((2, 3)))


@pytest.mark.parametrize("case", RULES, ids=case_id)
def test_forward_and_backward_may_be_jitted_apart(case):
    """Residuals hold only arrays: a Python number among them would reach the backward as a tracer. Nothing compiles."""
    args = jax.tree.map(jnp.asarray, case.args((3,)))

    def fwd(*args):
        y, residuals = case.rule.fwd(*args)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(residuals))
        return y, residuals

    y, residuals = jax.eval_shape(fwd, *args)
    for arg, cotangent in zip(args, jax.eval_shape(case.rule.bwd, residuals, y), strict=False):
        assert cotangent is None or jax.tree.map(jnp.shape, cotangent) == jax.tree.map(jnp.shape, arg)


def test_every_public_rule_has_a_case():
    assert {case.name for case in RULES} == set(ops.__all__)
