"""Eager against jit and vmap, and the target dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import gradcheck
from funcnet.gradcheck.judge import arithmetic
from funcnet.types import Rule

SIN = Rule(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x),))


def test_jit_and_vmap_are_measured_in_every_dtype():
    report = gradcheck.check(SIN, "N D", dtypes=(jnp.float32, jnp.bfloat16, jnp.float16))
    assert report.ulps.keys() == {"float64", "float32", "bfloat16", "float16"}
    for modes in report.ulps.values():
        assert modes.keys() == {"eager", "jit", "vmap"}
        assert all(0 <= ulps < 4 for ulps in modes.values())


def test_what_cannot_be_traced_is_said_and_does_not_fail():
    rule = Rule(SIN.fwd, lambda x, dy: (jnp.asarray(np.asarray(dy) * np.cos(np.asarray(x))),))
    report = gradcheck.check(rule, "N D")
    assert report.verdict == "correct"
    assert any("could not be run under jit in float32" in note for note in report.notes)


def faulty_from(rows, monkeypatch, mode="_jitted"):
    """A compiler that gets the value wrong from so many rows."""
    right = getattr(arithmetic, mode)

    def wrong(case):
        run = right(case)

        def ran():
            found = run()
            return found | {"y": found["y"] + 0.01 * (len(found["y"]) >= rows)}

        return ran

    monkeypatch.setattr(arithmetic, mode, wrong)


@pytest.mark.parametrize(("mode", "rows"), [("_jitted", 1), ("_mapped", 1), ("_jitted", 33_000)])
def test_a_compiler_that_errs_is_not_blamed_on_the_rule(mode, rows, monkeypatch):
    faulty_from(rows, monkeypatch, mode)
    report = gradcheck.check(SIN, "N D")
    assert report.verdict == "inconclusive"
    assert {(finding.mistake, finding.leaf) for finding in report.findings} == {("compiler-disagrees", "y")}
    assert "the compiler is at fault, not the rule" in str(report)


def test_many_rows_are_left_out_where_they_would_fill_the_memory(monkeypatch):
    faulty_from(33_000, monkeypatch)
    gram = Rule(lambda x: (x @ x.T, x), lambda x, dy: (dy @ x + dy.T @ x,))
    assert gradcheck.check(gram, "N D").verdict == "correct"


@pytest.mark.skipif(jax.__version__ != "0.10.2", reason="needs jaxlib 0.10.2, which miscompiles")
def test_a_miscompiled_reduction_is_not_blamed_on_the_rule():
    rng = np.random.default_rng(0)
    rows, m = rng.normal(size=(40_000, 3)), rng.normal(size=(3, 3))

    def fwd(x, m):
        return jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(x), (x, m)

    def bwd(residuals, dy):
        x, m = residuals
        d = 2 * dy[:, None] * (x @ m.T)
        return d @ m, d.T @ x

    report = gradcheck.check(Rule(fwd, bwd), rows, m)
    print(report)
    assert report.verdict == "inconclusive"
    assert {finding.mistake for finding in report.findings} == {"compiler-disagrees"}
