"""The movement of the reference: compiled code that errs excuses nobody."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import gradcheck
from funcnet.gradcheck.judge import reference


@pytest.mark.parametrize("wrong", [0.5, np.nan])
def test_compiled_code_that_errs_is_not_taken_for_movement(wrong, monkeypatch):
    def miscompiled(f, dys, points):
        return [
            [[leaf + wrong * n for leaf in row] for row in at]
            for n, at in enumerate(reference.eagerly_at(f, dys, points), 1)
        ]

    monkeypatch.setattr(reference, "compiled_at", miscompiled)
    pair = (lambda x: (jnp.square(x), x), lambda x, dy: (x * dy,))
    report = gradcheck.check(pair, "N D", dtypes=(), quick=True)
    assert report.mistakes == ("wrong-scale",)
    assert report.worst["x"] > 1e6
