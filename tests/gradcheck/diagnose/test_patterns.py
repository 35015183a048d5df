"""Patterns in a whole cotangent, where they are easily missed; the exam has the plain ones."""

import jax.numpy as jnp
import pytest

from funcnet import gradcheck
from funcnet.types import Rule


@pytest.mark.parametrize("seed", [1, 2])
def test_updated_weights_are_seen_through_a_relu_whose_mask_was_taken_before(seed):
    def fwd(x, w):
        y = jnp.maximum(x @ w, 0)
        return y, (x, w, y)

    def bwd(residuals, dy):
        x, w, y = residuals
        dz = jnp.where(y > 0, dy, 0)
        dw = x.T @ dz
        return dz @ (w - 0.01 * dw).T, dw

    report = gradcheck.check(Rule(fwd, bwd), "N I", "I O", seed=seed, dtypes=())
    assert (report.findings[0].argument, report.findings[0].mistake) == ("x", "updated-weights")


def test_other_indices_at_the_same_sizes_are_another_program():
    def fwd(table, tokens):
        rows = table[tokens]
        h = jnp.tanh(rows)
        return h @ table.T, (h,)

    (finding,) = gradcheck.check(Rule(fwd, lambda r, dy: (dy.T @ r[0], None)), "7 5", "11:int<7").findings
    assert (finding.mistake, finding.source) == ("path-lost", "rows = table[tokens]")
