"""Kernels and other functions that run in one dtype alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from funcnet.gradcheck import check
from tests.gradcheck.users import as_users_have_it, rule  # noqa: F401

X = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def a_kernel(times=1.0, of_sine=1.0):
    """x sin x by Pallas, forward and backward, in float32 alone; the factors are mistakes, on dx and on part of it."""

    def call(body, *arrays):
        assert {a.dtype.name for a in arrays} == {"float32"}
        out = jax.ShapeDtypeStruct(arrays[0].shape, jnp.float32)
        return pl.pallas_call(body, out_shape=out, interpret=True)(*arrays)

    def forward(x, out):
        out[...] = x[...] * jnp.sin(x[...])

    def backward(x, g, out):
        out[...] = times * g[...] * (jnp.sin(x[...]) + of_sine * x[...] * jnp.cos(x[...]))

    f = functools.partial(call, forward)
    return rule(lambda x: f(x), lambda x: (f(x), x), lambda x, g: (call(backward, x, g),))


@pytest.mark.parametrize(("times", "verdict"), [(1.0, "correct"), (1.001, "wrong"), (-1.0, "wrong"), (np.inf, "wrong")])
@pytest.mark.parametrize("reference", [lambda x: x * jnp.sin(x), None], ids=["reference", "differences"])
def test_a_kernel_is_judged_in_its_own_dtype(times, verdict, reference):
    report = check(a_kernel(times), X, reference=reference)
    assert report.verdict == verdict, report
    assert report.mistakes == {
        1.0: (), 1.001: ("wrong-scale",), -1.0: ("sign-flipped",), np.inf: ("not-finite",)
    }[times]  # fmt: skip
    assert report.reference == ("differences" if reference is None else "autodiff of the function given as reference")
    assert 1e-7 < report.sight < 1e-3


def by_parts(x):
    """What the kernel computes, in lines."""
    s = jnp.sin(x)
    return x * s


@pytest.mark.parametrize(("factor", "mistake"), [(0.0, "path-lost"), (-1.0, "sign-flipped"), (2.0, "counted-twice")])
def test_a_path_that_a_kernel_lost_has_the_line_of_the_reference(factor, mistake):
    (finding,) = check(a_kernel(of_sine=factor), X, reference=by_parts).findings
    assert (finding.mistake, finding.source) == (mistake, "s = jnp.sin(x)")
    (finding,) = check(a_kernel(of_sine=0.7), X, reference=by_parts).findings
    assert finding.mistake == "unexplained"


def test_a_kernel_of_another_value_than_its_reference_is_wrong():
    report = check(a_kernel(), X, reference=lambda x: x * jnp.sin(x) + 1e-3)
    assert report.verdict == "wrong"
    assert report.mistakes == ("primal-mismatch",)


def test_another_dtype_is_not_tried_if_one_is_asked_for():
    seen = set()

    def f(x):
        seen.add(x.dtype.name)
        return jnp.sin(x)

    target = rule(f, lambda x: (f(x), x), lambda x, g: (jnp.cos(x) * g,))
    assert check(target, X, dtype="as-is", quick=True)
    assert check(target, "N D", dtype=jnp.float32, quick=True)
    assert seen == {"float32"}
    assert check(target, "N D", dtype=jnp.bfloat16, quick=True)
    assert seen == {"float32", "bfloat16"}
