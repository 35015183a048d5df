"""Right backwards must not be blamed: a sample of ``python -m tests.gradcheck.false_alarms``, and what it taught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jaxtyping import Array, Bool, Float

from funcnet import gradcheck
from funcnet.gradcheck.judge import reference
from funcnet.gradcheck.judge.probe import probe
from funcnet.gradcheck.trial.draws import Draw
from funcnet.gradcheck.trial.targets import as_subject
from funcnet.types import Rule
from tests.gradcheck.false_alarms import outcomes
from tests.gradcheck.right import RIGHT

SAMPLE = ("clip", "cumsum", "hypot", "logsumexp", "max", "segment_sum", "where")


@pytest.mark.slow
@pytest.mark.parametrize("right", [right for right in RIGHT if right.name in SAMPLE], ids=lambda right: right.name)
def test_a_right_backward_is_correct(right):
    (one,) = outcomes(right, quick=True)
    assert one.verdict == "correct", one.reasons


def test_a_compiled_jacobian_is_not_taken_of_forty_thousand_rows():
    bwd = jax.jit(lambda x, dy: (dy @ jax.jacfwd(jnp.sin)(x),))
    report = gradcheck.check(Rule(lambda x: (jnp.sin(x), x), bwd), "N")
    assert report.verdict == "correct"
    assert not any("40009" in probe for probe in report.probes)


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
    ((dx,),) = reference.pull(root, (x,), [jnp.asarray(dy)])
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
        assert probe(as_subject(Rule(fwd, bwd)), draw, cotangents=8).agrees
        assert not probe(as_subject(slightly), draw).agrees


def first_row_cleared(x: Float[Array, "N D"]):
    z = x.at[0].set(0)  # a method that NumPy's arrays have not
    return z * z, z


def masked(x: Float[Array, "N D"], mask: Bool[Array, "N D"]):
    mask = mask.at[:, 0].set(True)
    return jnp.where(mask, x, 0), mask


def with_positions(x: Float[Array, "T D"], table: Float[Array, "512 D"]):
    return x + table[: len(x)], x


def of_few(x: Float[Array, "N D"]):
    assert len(x) <= 1024
    return x * x, x


def of_no_zeros(x: Float[Array, "N D"]):
    if bool((x == 0).any()):
        raise ValueError("no zeros")
    return 1 / x, x


def recurrence(x: Float[Array, "T D"], a: Float[Array, "D"]):
    """Beyond float64 after thousands of steps."""
    h, hs = lax.scan(lambda h, x_t: (a * h + x_t, h), jnp.zeros_like(a), x)
    return h, (hs, a)


def recurrence_bwd(residuals, dy):
    hs, a = residuals
    turn = lambda carry, h: ((carry[0] * a, carry[1] + carry[0] * h), carry[0])  # noqa: E731
    (_, da), dx = lax.scan(turn, (dy, jnp.zeros_like(a)), hs, reverse=True)
    return dx, da


def in_blocks(x: Float[Array, "N D"]):
    """Forty thousand rows would be six hundred blocks, and minutes of tracing."""
    return jnp.concatenate([jnp.sin(x[i : i + 64]) for i in range(0, len(x), 64)]), x


def widened_loss(x: Float[Array, "N"]):
    return (x.astype(jnp.float32) ** 2).mean(), x


def rounded(x: Float[Array, "N D"]):
    """A straight-through estimator."""
    return x + lax.stop_gradient(jnp.round(x) - x), None


def codebook_loss(x: Float[Array, "N D"], codes: Float[Array, "N D"]):
    to_codes = x - lax.stop_gradient(codes)
    return to_codes**2 + 0.25 * (lax.stop_gradient(x) - codes) ** 2, to_codes


def kept_dtype(x: Float[Array, "N"]):
    return 2 * x, ("a string", x.shape, jnp.float32)


ODD = {
    "x.at": (first_row_cleared, lambda z, dy: ((2 * z * dy).at[0].set(0),)),
    "mask.at": (masked, lambda mask, dy: (jnp.where(mask, dy, 0), None)),
    "a table of 512 rows": (
        with_positions,
        lambda x, dy: (dy, jnp.zeros((512, x.shape[1]), dy.dtype).at[: len(x)].set(dy)),
    ),
    "at most 1024 rows": (of_few, lambda x, dy: (2 * x * dy,)),
    "no zeros": (of_no_zeros, lambda x, dy: (-dy / x**2,)),
    "overflow after many steps": (recurrence, recurrence_bwd),
    "a Python loop over blocks": (in_blocks, lambda x, dy: (jnp.cos(x) * dy,)),
    "straight through": (rounded, lambda residuals, dy: (dy,)),
    "a codebook": (codebook_loss, lambda difference, dy: (2 * difference * dy, -0.5 * difference * dy)),
    "float32 whatever is given": (
        widened_loss,
        lambda x, dy: ((2 * x.astype(jnp.float32) * dy / x.size).astype(x.dtype),),
    ),
    "a dtype among the residuals": (kept_dtype, lambda residuals, dy: (2 * dy,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_odd_code_that_is_right_is_correct(name):
    with jax.numpy_dtype_promotion("standard"):
        assert gradcheck.check(Rule(*ODD[name]), seed=1).verdict == "correct"


def test_what_stop_gradient_hides_is_held_fixed():
    report = gradcheck.check(Rule(rounded, lambda residuals, dy: (2 * dy,)), quick=True)
    assert (report.verdict, report.findings[0].mistake) == ("wrong", "counted-twice")
    assert any("stop_gradient" in note for note in report.notes)


def test_a_while_loop_is_not_taken_out_of_its_domain():
    """Newton's iteration never ends for the root of less than zero."""

    def root(square):
        done = lambda root: jnp.any(jnp.abs(root * root - square) > 1e-10)  # noqa: E731
        y = lax.while_loop(done, lambda root: (root + square / root) / 2, jnp.ones_like(square))
        return y, y

    squares = np.array([1.0, 2.0, 3.0])
    assert gradcheck.check(Rule(root, lambda y, dy: (dy / (2 * y),)), squares, dtypes=()).verdict == "correct"


def test_autodiff_that_is_off_far_out_blames_nobody():
    """Of log σ(z) it is e⁻ᶻ/(1 + e⁻ᶻ)²/a, 0 at z = −400, where the square overflows; the truth is 1."""

    def fwd(x):
        a = 1 / (1 + jnp.exp(-8 * x))
        return jnp.log(a), a

    report = gradcheck.check(Rule(fwd, lambda a, dy: (8 * (1 - a) * dy,)), "N D", seed=6)
    assert report.verdict == "correct"
