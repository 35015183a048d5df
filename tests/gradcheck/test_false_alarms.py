"""Right backwards must not be blamed: a sample of ``python -m tests.gradcheck.false_alarms``, and what it taught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet import gradcheck
from funcnet.gradcheck import decision, reference
from funcnet.gradcheck.inputs import Draw
from funcnet.gradcheck.subject import as_subject
from funcnet.types import Rule
from tests.gradcheck.false_alarms import outcomes
from tests.gradcheck.right import RIGHT

SAMPLE = ("clip", "cumsum", "hypot", "logsumexp", "max", "segment_sum", "where")


@pytest.mark.parametrize("right", [right for right in RIGHT if right.name in SAMPLE], ids=lambda right: right.name)
def test_a_right_backward_is_correct(right):
    (one,) = outcomes(right, quick=True)
    assert one.verdict == "correct", one.reasons


def test_a_compiled_jacobian_is_not_taken_of_forty_thousand_rows():
    bwd = jax.jit(lambda x, dy: (dy @ jax.jacfwd(jnp.sin)(x),))
    report = gradcheck.check(Rule(lambda x: (jnp.sin(x), x), bwd), "N")
    assert report.verdict == "correct"
    assert not any("40000" in probe for probe in report.probes)


def test_a_python_loop_over_the_rows_is_not_traced_for_forty_thousand():
    def bwd(x, dy):
        sums = [dy[-1]]
        for row in dy[:-1][::-1]:
            sums.append(sums[-1] + row)
        return (jnp.stack(sums[::-1]),)

    assert gradcheck.check(Rule(lambda x: (jnp.cumsum(x), x), bwd), "N").verdict == "correct"


def test_a_dtype_in_which_the_forward_does_not_run_is_inconclusive():
    def fwd(x):
        y = jnp.linalg.inv(x)
        return y, y

    report = gradcheck.check(Rule(fwd, lambda y, dy: (-(y.T @ dy @ y.T),)), "3 3", dtypes=(jnp.bfloat16,))
    assert report.verdict == "inconclusive"
    assert any("could not be judged in bfloat16" in note for note in report.notes)


def test_what_overflows_a_dtype_is_a_note_and_not_imprecise():
    square = Rule(lambda x: ((x * x).sum(), x), lambda x, dy: (2 * x * dy,))
    report = gradcheck.check(square, 1e6 * np.linspace(-1, 1, 5), dtypes=(jnp.float16,))
    assert report.verdict == "correct"
    assert any("not finite in float16" in note for note in report.notes)


def test_the_reference_of_a_while_loop():
    def root(x):  # of x² + 1, by Newton's iteration
        square = x * x + 1
        done = lambda root: (jnp.abs(root * root - square) > 1e-14 * square).any()  # noqa: E731
        return lax.while_loop(done, lambda root: (root + square / root) / 2, square)

    x, dy = np.linspace(-1, 2, 3), np.linspace(1, 2, 3)
    _, ((dx,),) = reference.pull(root, (x,), [jnp.asarray(dy)])
    np.testing.assert_allclose(dx, dy * x / np.sqrt(x * x + 1), rtol=1e-12)


def test_none_in_an_argument_and_none_for_a_subtree():
    params = {"w": np.eye(3) + 1, "bias": None, "ids": (np.arange(2), np.arange(3))}

    def bwd(residuals, dy):
        params, x = residuals
        return {"w": jnp.outer(x, dy), "bias": None, "ids": None}, params["w"] @ dy

    rule = Rule(lambda params, x: (x @ params["w"], (params, x)), bwd)
    assert gradcheck.check(rule, params, np.arange(1.0, 4), dtypes=()).verdict == "correct"


def test_a_badly_conditioned_element_is_not_blamed_where_one_nudge_of_the_inputs_leaves_it_by_luck():
    def fwd(x):
        centred = x - x.mean(-1, keepdims=True)
        deviation = jnp.sqrt((centred**2).mean(-1, keepdims=True))
        return centred / deviation, (centred / deviation, deviation)

    def bwd(residuals, dy):
        y, deviation = residuals
        return ((dy - dy.mean(-1, keepdims=True) - y * (y * dy).mean(-1, keepdims=True)) / deviation,)

    slightly = Rule(fwd, lambda residuals, dy: (1.00001 * bwd(residuals, dy)[0],))
    for seed in range(3):
        draw = Draw((1e6 + np.random.default_rng(seed).normal(size=(5, 7)),), {}, "far off", seed)
        assert decision.probe(as_subject(Rule(fwd, bwd)), draw, cotangents=8).agrees
        assert not decision.probe(as_subject(slightly), draw).agrees
