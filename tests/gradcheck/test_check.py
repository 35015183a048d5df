"""Verdicts: right rules are correct, wrong ones wrong, imprecise ones imprecise; and every wrong call is one error."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import funcnet
from funcnet import gradcheck, ops
from funcnet.types import Rule

MEAN = "N D", "D"


def scale_fwd(x: Float[Array, "N D"], gain: Float[Array, "D"]):
    mean = x.mean(axis=0, keepdims=True)
    return (x - mean) * gain[None], (x - mean, gain)


def scale_bwd(residuals, dy):
    centred, gain = residuals
    dc = dy * gain[None]
    return dc - dc.mean(axis=0, keepdims=True), (dy * centred).sum(axis=0)


def changed(change):
    """The rule above, with its cotangents changed."""
    return Rule(scale_fwd, lambda residuals, dy: change(*scale_bwd(residuals, dy), residuals, dy))


@pytest.mark.parametrize("inputs", [(), MEAN, (np.linspace(-1, 1, 35).reshape(5, 7) ** 3, np.arange(7.0))])
def test_a_right_rule_is_correct(inputs):
    report = gradcheck.check(Rule(scale_fwd, scale_bwd), *inputs)
    assert (report.verdict, report.findings) == ("correct", ())
    assert max(report.worst.values()) <= 1
    gradcheck.assert_correct(scale_fwd and (scale_fwd, scale_bwd), *inputs)


MISTAKES = [
    (lambda dx, dg, r, dy: (dx.at[1, 2].mul(1.00001), dg), "x", None),
    (lambda dx, dg, r, dy: (dx * dy.shape[0], dg), "x", "missing-mean-divisor"),
    (lambda dx, dg, r, dy: (dx, dg / dy.shape[1]), "gain", "extra-mean-divisor"),
    (lambda dx, dg, r, dy: (r[1][None] + 0 * dx, dg), "x", "ignores-cotangent"),
    (lambda dx, dg, r, dy: (dx, dg * dg), "gain", "cotangent-squared"),
    (lambda dx, dg, r, dy: (jnp.clip(dx, -0.1, 0.1), dg), "x", "nonlinear-in-cotangent"),
    (lambda dx, dg, r, dy: (dx,), "", "wrong-structure"),
    (lambda dx, dg, r, dy: {"x": dx}, "", "wrong-structure"),
    (lambda dx, dg, r, dy: (dx, None), "gain", "wrong-structure"),
    (lambda dx, dg, r, dy: (dx, dg[:-1]), "gain", "wrong-shape"),
    (lambda dx, dg, r, dy: (dx, dg[None]), "gain", "wrong-reduction-axis"),
    (lambda dx, dg, r, dy: (dx, dg.sum()), "gain", "wrong-reduction-axis"),
    (lambda dx, dg, r, dy: (dx, dy * r[0]), "gain", "missing-broadcast-sum"),
    (lambda dx, dg, r, dy: (dx.astype(jnp.float32), dg), "x", "wrong-dtype"),
    (lambda dx, dg, r, dy: (dx @ dx, dg), "", "wrong-structure"),  # raises
    (lambda dx, dg, r, dy: (dx, dg / 0), "gain", "not-finite"),
]


@pytest.mark.parametrize(("change", "argument", "mistake"), MISTAKES)
def test_a_wrong_rule_is_wrong(change, argument, mistake):
    report = gradcheck.check(changed(change))
    assert report.verdict == "wrong"
    assert report.findings[0].argument == argument
    assert mistake is None or report.findings[0].mistake == mistake
    assert report.findings[0].mistake in str(report)
    with pytest.raises(AssertionError, match="WRONG") as raised:
        gradcheck.assert_correct(changed(change))
    assert raised.value._render_traceback_() == [str(raised.value)]  # a notebook prints that, and no frames


def test_where_no_name_fits_the_elements_speak():
    spoiled = changed(lambda dx, dg, r, dy: (dx + 0.5 * jnp.sin(40 * dx * r[0]) * dx, dg))
    report = gradcheck.check(spoiled, arrays := np.linspace(1, 2, 35).reshape(5, 7) ** 3, np.arange(1.0, 8.0))
    assert "nonlinear-in-cotangent" in str(report)  # what cannot be linear is named so
    spoiled = changed(lambda dx, dg, r, dy: (dx.at[3, 1].add(dy[3, 1]).at[0, 4].add(dy[1, 2]), dg))
    report = gradcheck.check(spoiled, arrays, np.arange(1.0, 8.0))
    assert "unexplained: 2 of its 35 elements are wrong" in str(report)
    assert {element.name for element in report.elements[:2]} == {"dx[3, 1]", "dx[0, 4]"}
    assert all(element.got != element.expected for element in report.elements[:2])


def test_the_worst_elements_are_of_the_cotangent_that_is_wrong_and_differ_all():
    """Clipping bites at the second cotangent alone."""
    clipped = Rule(lambda x: (2 * x, None), lambda _, dy: (2 * jnp.clip(dy, -2, 2),))
    elements = gradcheck.check(clipped, "N D").elements
    assert elements
    assert all(abs(element.got) == 4 < abs(element.expected) for element in elements)


def test_swapped_and_transposed():
    matmul = Rule(lambda a, b: (a @ b, (a, b)), lambda r, dy: (dy @ r[1].T, r[0].T @ dy))
    assert gradcheck.check(matmul, "N D", "D K").verdict == "correct"
    swapped = Rule(matmul.fwd, lambda r, dy: matmul.bwd(r, dy)[::-1])
    assert gradcheck.check(swapped, "5 5", "5 5").findings[0].mistake == "swapped-cotangents"
    transposed = Rule(matmul.fwd, lambda r, dy: (matmul.bwd(r, dy)[0].T, matmul.bwd(r, dy)[1]))
    assert gradcheck.check(transposed, "5 5", "5 K").findings[0].mistake == "transposed"


def test_right_but_badly_computed_is_imprecise_and_not_wrong():
    """A bias gradient summed one by one is right in float64 and hopeless in bfloat16."""

    def bwd(residuals, dy):
        total, _ = jax.lax.scan(lambda total, row: (total + row, None), jnp.zeros_like(dy[0]), dy)
        return dy, total

    rule = Rule(lambda x, b: (x + b[None], ()), bwd)
    report = gradcheck.check(rule, "N D", "D", sizes={"N": 9999}, dtypes=(jnp.bfloat16,))
    assert report.verdict == "imprecise"
    assert report.findings[0].mistake == "low-precision-accumulation"
    assert "bfloat16" in str(report)


def test_autodiff_that_is_wrong_is_not_blamed_on_the_rule():
    """jax.grad(sigmoid)(40.) is 0 in float64; the rule is right there."""
    report = gradcheck.check(ops.sigmoid, jnp.linspace(38.0, 42.0, 7))
    assert report.verdict == "inconclusive"
    assert "too small for differences to see" in report.notes[0]


def test_a_wrong_derivative_inside_the_forward_is_not_blamed_on_the_rule():
    @jax.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, dy: (x * dy,))  # without the 2
    rule = Rule(lambda x: (jnp.sin(square(x)), x), lambda x, dy: (dy * jnp.cos(x * x) * 2 * x,))
    report = gradcheck.check(rule, "N D")
    assert (report.verdict, report.reference) == ("correct", "differences")
    assert "the forward calls square, whose own derivative may be wrong" in report.notes[0]
    assert "differences side with the backward" in report.notes[-1]
    neither = gradcheck.check(Rule(rule.fwd, lambda x, dy: (3 * rule.bwd(x, dy)[0],)), "N D")
    assert neither.verdict == "inconclusive"


def before_batch_norm(spoil=lambda db: db):
    """A bias before batch norm: its gradient is zero, as the parts of it cancel."""

    def fwd(x, w, b):
        z = x @ w + b[None]
        c = z - z.mean(axis=0, keepdims=True)
        s = jnp.sqrt((c * c).mean(axis=0, keepdims=True) + 1e-5)
        return c / s, (x, w, c / s, s)

    def bwd(residuals, dy):
        x, w, h, s = residuals
        dz = (dy - dy.mean(axis=0, keepdims=True) - h * (dy * h).mean(axis=0, keepdims=True)) / s
        return dz @ w.T, x.T @ dz, spoil(dz.sum(axis=0))

    return Rule(fwd, bwd)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_a_gradient_that_is_zero_by_cancellation(seed):
    report = gradcheck.check(before_batch_norm(), "N I", "I O", "O", seed=seed)
    assert report.verdict == "correct"
    assert "db is zero by cancellation, and only rounding is left to compare" in report.notes
    assert report.adequacy < 1
    wrong = gradcheck.check(before_batch_norm(lambda db: db + 1e-9), "N I", "I O", "O", seed=seed)
    assert (wrong.verdict, wrong.findings[0].argument) == ("wrong", "b")


def test_custom_vjp_is_compared_with_its_primal():
    f = jax.custom_vjp(lambda x, w: jnp.sin(x) * w)
    f.defvjp(lambda x, w: (jnp.sin(x) * w, (x, w)), lambda r, dy: (dy * jnp.cos(r[0]) * r[1], dy * jnp.sin(r[0])))
    assert gradcheck.check(f, "N D", "N D").verdict == "correct"
    f.defvjp(lambda x, w: (jnp.sin(x) * w, (x, w)), lambda r, dy: (dy * jnp.cos(r[0]), dy * jnp.sin(r[0])))
    assert gradcheck.check(f, "N D", "N D").verdict == "wrong"


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", [funcnet.dense(3), funcnet.models.mlp((5,), 3, dropout_rate=0.2)], ids=["dense", "mlp"]
)
def test_a_layer_and_every_leaf_of_its_params(layer):
    report = gradcheck.check(layer, in_shape=(7,))
    assert report.verdict == "correct"
    assert any(name.startswith("params") and "'b'" in name for name in report.worst)

    def forgets(residuals, dy):
        dparams, dx = layer.bwd(residuals, dy)
        return jax.tree.map(lambda leaf: leaf * 1.001, dparams), dx

    wrong = gradcheck.check(layer._replace(bwd=forgets), in_shape=(7,))
    assert wrong.verdict == "wrong"
    assert {finding.argument for finding in wrong.findings} == {"params"}


def test_a_rule_that_changes_its_mind():
    answers = iter(range(1, 1000))
    drifting = Rule(lambda x: (jnp.sin(x), x), lambda x, dy: (dy * jnp.cos(x) + next(answers),))
    assert gradcheck.check(drifting, "N").findings[0].mistake == "nondeterministic"
    drifting = Rule(lambda x: (jnp.sin(x) + next(answers), x), lambda x, dy: (dy * jnp.cos(x),))
    assert gradcheck.check(drifting, "N").findings[0].mistake == "nondeterministic"


def test_symbolic_zeros_are_what_jax_hands_over():
    f = jax.custom_vjp(lambda x, w: jnp.sin(x) * w)
    f.defvjp(
        lambda x, w: (jnp.sin(x.value) * w.value, (x.value, w.value)),
        lambda r, dy: (dy * jnp.cos(r[0]) * r[1], dy * jnp.sin(r[0])),
        symbolic_zeros=True,
    )
    assert gradcheck.check(f, "N", "N").verdict == "correct"


def test_what_is_wrong_with_many_rows_alone_is_found():
    """A kernel that works in blocks of 64 rows, and forgets the last one where it is not full."""

    def bwd(x, dy):
        rows = len(x)
        done = rows if rows < 64 else rows // 64 * 64
        return (jnp.where(jnp.arange(rows)[:, None] < done, 2 * x * dy, 0),)

    (finding,) = gradcheck.check(Rule(lambda x: (x * x, x), bwd), "N D").findings
    assert re.match("is right at N=5 D=7; .*, and wrong at N=40009 D=7: got 0 at", finding.explanation)


def test_what_is_wrong_in_long_rows_alone_is_found():
    """A kernel that works in blocks of 128 columns, and takes the second for another first."""

    def bwd(x, dy):
        return (2 * jnp.where(jnp.arange(x.shape[-1]) < 128, x, x[..., :1]) * dy,)

    (finding,) = gradcheck.check(Rule(lambda x: (x * x, x), bwd), "N D").findings
    assert (finding.mistake, finding.explanation) == ("unexplained", "2 of its 130 elements are wrong")


@pytest.mark.slow
def test_rows_are_no_longer_than_memory_allows():
    report = gradcheck.check(Rule(lambda x: (2 * x, None), lambda _, dy: (2 * dy,)), "N D D D")
    assert report.verdict == "correct"
    assert "N=1 D=8" in report.probes[2]


def test_what_is_wrong_at_even_sizes_alone_is_found():
    """The spectrum of an even number of samples has a last entry that stands for one frequency and not for two."""

    def bwd(samples, dy):
        halves = jnp.full(dy.shape[-1], 0.5, dy.dtype).at[0].set(1)
        return (samples * jnp.fft.irfft(dy * halves, n=samples),)

    assert gradcheck.check(Rule(lambda x: (jnp.fft.rfft(x).real, x.shape[-1]), bwd), "N D").verdict == "wrong"


def test_the_line_is_none_through_which_right_gradients_flow():
    def fwd(x, w, b, y):
        z = x @ w + b[None, :]
        return ((jnp.tanh(z) - y) ** 2).mean(), (x, w, z, y)

    def bwd(residuals, dy):
        x, w, z, y = residuals
        a = jnp.tanh(z)
        da = 2 * (a - y) / a.size * dy
        dz = da * (1 - a * a)
        return dz @ w.T, x.T @ dz, dz.mean(axis=0), -da

    (finding,) = gradcheck.check(Rule(fwd, bwd), "N I", "I O", "O", "N O").findings
    assert (finding.argument, finding.mistake, finding.source) == ("b", "extra-mean-divisor", "z = x @ w + b[None, :]")


def test_a_forward_that_raises_in_float32_is_not_called_correct():
    def fwd(x):
        if x.dtype == jnp.float32:
            raise ValueError("no float32, please")
        return jnp.sin(x), x

    report = gradcheck.check(Rule(fwd, lambda x, dy: (jnp.cos(x) * dy,)), "N")
    assert report.verdict == "inconclusive"
    assert "no float32, please" in report.notes[0]


def test_a_custom_vjp_whose_forward_is_another_function():
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x) + 1, x), lambda x, dy: (dy * jnp.cos(x),))
    report = gradcheck.check(f, "N")
    assert (report.verdict, report.findings[0].mistake) == ("wrong", "primal-mismatch")


def test_arguments_that_are_no_arrays_go_through():
    f = jax.custom_vjp(lambda g, axis, x: g(x).sum(axis=axis), nondiff_argnums=(0, 1))
    f.defvjp(
        lambda g, axis, x: (g(x).sum(axis=axis), x),
        lambda g, axis, x, dy: (jnp.expand_dims(dy, axis) * jnp.cos(x),),
    )
    assert gradcheck.check(f, jnp.sin, 1, np.linspace(0, 1, 35).reshape(5, 7)).verdict == "correct"


def test_adequacy_is_the_share_of_mutants_that_the_probes_would_see():
    right = gradcheck.check(Rule(scale_fwd, scale_bwd))
    assert right.adequacy == 1
    blind = Rule(lambda x, w: (x + 0 * w, ()), lambda _, dy: (dy, 0 * dy))
    report = gradcheck.check(blind, "5 5", "5 5")
    assert report.adequacy == 4 / 8  # of a gradient that is zero everywhere no change is seen
    assert "the probes would not have seen dw negated" in report.notes


def test_a_forward_that_needs_a_domain_gets_it():
    rule = Rule(lambda x: (jnp.log(x), x), lambda x, dy: (dy / x,))
    report = gradcheck.check(rule, "N D")
    assert report.verdict == "correct"
    assert "drawn as positive" in report.notes[0]


def test_the_report_is_json():
    import json

    report = gradcheck.check(changed(lambda dx, dg, r, dy: (2 * dx, dg)))
    assert json.loads(json.dumps(report.to_dict()))["verdict"] == "wrong"
