"""Patterns in a whole cotangent, where they are easily missed; the exam has the plain ones."""

import jax.numpy as jnp
import numpy as np
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


def _windows_fwd(x, w):
    """y_t = Σ_k x_{t+k} w_k: (T,) and (3,) to (T − 2,)."""
    n = x.shape[0] - 2
    return sum(x[k : k + n] * w[k] for k in range(3)), (x, w)


def _windows_bwd(residuals, dy, add=True):
    x, w = residuals
    n, dx = dy.shape[0], jnp.zeros_like(x)
    for k in range(3):
        at = dx.at[k : k + n]
        dx = at.add(dy * w[k]) if add else at.set(dy * w[k])
    return dx, jnp.stack([jnp.sum(dy * x[k : k + n]) for k in range(3)])


def test_windows_that_overlap_and_are_assigned():
    assert gradcheck.check(Rule(_windows_fwd, _windows_bwd), "11", "3", dtypes=())
    wrong = Rule(_windows_fwd, lambda residuals, dy: _windows_bwd(residuals, dy, add=False))
    (finding,) = gradcheck.check(wrong, "11", "3", dtypes=()).findings
    assert (finding.argument, finding.mistake) == ("x", "overwritten")
    assert finding.source == "return sum(x[k : k + n] * w[k] for k in range(3)), (x, w)"


@pytest.mark.parametrize("lost", [0, 1])
def test_what_flows_back_from_one_of_two_results_is_lost(lost):
    def fwd(x, w):
        h = jnp.tanh(x @ w)
        return (h, jnp.sin(h)), (x, w, h)

    def bwd(residuals, dys):
        (x, w, h), (dh, ds) = residuals, dys
        dh, ds = (jnp.zeros_like(dh), ds) if lost == 0 else (dh, jnp.zeros_like(ds))
        dz = (1 - h * h) * (dh + jnp.cos(h) * ds)
        return dz @ w.T, x.T @ dz

    report = gradcheck.check(Rule(fwd, bwd), "5 3", "3 4", dtypes=())
    assert report.mistakes == ("path-lost",)


def test_two_axes_exchanged_that_are_not_the_last():
    def fwd(x):
        return x * x, x

    wrong = Rule(fwd, lambda x, dy: (jnp.swapaxes(2 * x * dy, 0, 1),))
    assert gradcheck.check(wrong, "5 5 3", dtypes=()).mistakes == ("transposed",)


@pytest.mark.parametrize(
    ("slope", "text"),
    [
        (lambda x, y: jnp.maximum(x, 0.0), "is multiplied by a value of this line, not by its condition"),
        (lambda x, y: (x <= 0).astype(x.dtype), "has the condition of this line the wrong way round"),
    ],
)
def test_a_condition_of_relu_and_what_stands_for_it(slope, text):
    def fwd(x):
        y = jnp.maximum(x, 0)
        return y, (x, y)

    (finding,) = gradcheck.check(Rule(fwd, lambda r, dy: (slope(*r) * dy,)), "5 3", dtypes=()).findings
    assert (finding.mistake, finding.explanation) == ("wrong-mask", text)


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (lambda x, y: x, "is multiplied by a value of this line, not by its condition"),
        (lambda x, y: (x < y[:, None]).astype(x.dtype), "goes to every place but that of the extreme"),
    ],
)
def test_a_maximum_and_where_its_gradient_goes(chosen, text):
    def fwd(x):
        y = x.max(axis=1)
        return y, (x, y)

    (finding,) = gradcheck.check(Rule(fwd, lambda r, dy: (chosen(*r) * dy[:, None],)), "5 3", dtypes=()).findings
    assert (finding.mistake, finding.explanation) == ("wrong-mask", text)


def test_a_softmax_without_its_factor_is_named_though_the_shift_cancels_no_more():
    def fwd(x):
        e = jnp.exp(x - x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, y

    def bwd(y, dy):
        return (dy - jnp.sum(dy * y, axis=-1, keepdims=True),)

    assert gradcheck.check(Rule(fwd, bwd), "5 7", dtypes=()).mistakes == ("missing-factor",)


def test_beside_the_edge_of_a_domain_a_mistake_is_found_and_named():
    """At 1 the gradient is 0, and a rounding unit farther there is none."""
    wrong = Rule(lambda x: ((1 - x) ** 1.5, x), lambda x, dy: (-3.0 * jnp.sqrt(1 - x) * dy,))
    report = gradcheck.check(wrong, np.array([1.0, 0.3, -0.5, 0.2]))
    assert (report.verdict, report.mistakes) == ("wrong", ("counted-twice",))
