"""Functions as people write them: what is judged is the callable that was given, as it is.

Each row is one that the checker once refused, called wrong, or crashed on.
"""

import functools
import sys
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from funcnet import gradcheck
from funcnet.gradcheck import check
from tests.gradcheck.users import as_users_have_it, rule  # noqa: F401

R = np.random.default_rng(0)
X, Y, W = (R.normal(size=shape).astype(np.float32) for shape in ((5, 7), (5, 7), (7, 3)))
LABELS = np.array([1, 2, 0, 3, 1])
HALVES = R.uniform(0.3, 0.7, 7).astype(np.float32)
ONE_HOT = np.eye(7, dtype=np.float32)[LABELS]


# ---------------------------------------------------------------- the callable itself

square = rule(lambda x: x**2, lambda x: (x**2, x), lambda x, g: (2 * x * g,))
half = rule(lambda x: x**2, lambda x: (x**2, x), lambda x, g: (x * g,))  # wrong: the 2 is missing


@functools.wraps(square)
def wrapped_wrongly(x):
    return half(x)


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


sine.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), jnp.cos(primals[0]) * tangents[0]))
cosine = jax.custom_jvp(jnp.cos)
cosine.defjvp(lambda primals, tangents: (jnp.cos(primals[0]), jnp.sin(primals[0]) * tangents[0]))  # wrong: the sign


def root(a):
    """√a by Newton's method, with the derivative of the limit."""
    step = lambda f, x: jax.lax.while_loop(lambda x: jnp.abs(f(x)) > 1e-10, lambda x: (x + a / x) / 2, x)  # noqa: E731
    return jax.lax.custom_root(lambda x: x * x - a, a, step, lambda g, y: y / g(1.0))


def on_the_host(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


@jax.custom_jvp
@jax.vmap
def thirds(row):
    """Divided by 3 until all entries are below 0.1: under vmap the condition of the loop is one for each row."""
    return jax.lax.while_loop(lambda row: jnp.abs(row).max() > 0.1, lambda row: row / 3, row)


@thirds.defjvp
def thirds_jvp(primals, tangents):
    return thirds(primals[0]), tangents[0] * thirds(primals[0]) / primals[0]


def recurrent(x):
    """A loop with a state in float32, and weights in JAX's default width: with x64 its body would return float64."""
    step = lambda state, row: (jnp.tanh(state + row) * jnp.ones(7), row)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros(7, jnp.float32), x)[0]


UNDECORATED, DIFFERENCES = "autodiff of the undecorated function", "differences"
CALLABLES = {
    "vmap": (jax.vmap(square, in_axes=1), (X,), "correct", UNDECORATED),
    "vmap of a wrong one": (jax.vmap(half, in_axes=1), (X,), "wrong", UNDECORATED),
    "jit of a wrong one": (jax.jit(half), (X,), "wrong", UNDECORATED),
    "partial": (functools.partial(jnp.multiply, X), (Y,), "correct", DIFFERENCES),
    "a wrapper that calls another function": (wrapped_wrongly, (X,), "wrong", UNDECORATED),
    "in a plain function": (lambda x, w: jnp.tanh(square(x)) @ w, (X, W), "correct", UNDECORATED),
    "wrong in a scan": (
        lambda x: jax.lax.scan(lambda c, row: (half(c) + row, c), X[0], x)[0], (X,), "wrong", UNDECORATED
    ),
    "custom_jvp": (sine, (X,), "correct", UNDECORATED),
    "a wrong custom_jvp under jit": (jax.jit(cosine), (X,), "wrong", UNDECORATED),
    "plain": (lambda x: jnp.tanh(x).sum(axis=0), (X,), "correct", DIFFERENCES),
    "it looks at values": (lambda x: jnp.sin(x) if x.sum() > 0 else jnp.cos(x), (X,), "correct", DIFFERENCES),
    "many arguments": (lambda *xs: sum(map(jnp.sin, xs)), (X, Y), "correct", DIFFERENCES),
    "a root": (root, (np.float32(2.3),), "correct", DIFFERENCES),
    "a callback": (
        rule(on_the_host, lambda x: (on_the_host(x), x), lambda x, g: (jnp.cos(x) * g,)), (X,), "correct", DIFFERENCES
    ),
    "a wrong one with a callback": (
        rule(on_the_host, lambda x: (on_the_host(x), x), lambda x, g: (-jnp.cos(x) * g,)), (X,), "wrong", DIFFERENCES
    ),
    "complex": (lambda z: z * jnp.conj(z) + z**2, (X + 1j * Y,), "correct", DIFFERENCES),
    "complex, conjugated": (
        rule(lambda z, w: z * w, lambda z, w: (z * w, (z, w)), lambda r, g: (g * r[1], g * jnp.conj(r[0]))),
        (X + 1j * Y, Y - 1j * X), "wrong", UNDECORATED,
    ),
    "in float32 inside": (
        lambda x: jax.nn.softmax(x.astype(jnp.float32)).astype(x.dtype), (X,), "correct", DIFFERENCES
    ),
    "a state in float32": (recurrent, (X,), "correct", DIFFERENCES),
    "a wrong rule before it": (lambda x: recurrent(half(x)), (X,), "wrong", UNDECORATED),
    "a loop for each row": (thirds, (X,), "correct", DIFFERENCES),
    "a spectrum": (lambda x: jnp.fft.rfft(x), (X,), "correct", DIFFERENCES),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLABLES)
def test_what_is_judged_is_the_callable_that_was_given(name):
    f, arrays, verdict, reference = CALLABLES[name]
    report = check(f, *arrays, quick=True)
    assert (report.verdict, report.reference) == (verdict, reference), report


# ---------------------------------------------------------------- arguments


def scaled(**wrong):
    f = lambda x, eps=0.1: jnp.sin(x) * eps  # noqa: E731
    slope = lambda eps, x, g: (jnp.cos(x) * eps * g * wrong.get("times", 1),)  # noqa: E731
    return rule(f, lambda x, eps: (f(x, eps), x), slope, (1,))


def by_name(x, kind):
    return jnp.sin(x) if kind == "sin" else jnp.cos(x)


named = rule(by_name, lambda x, kind: (by_name(x, kind), x), lambda kind, x, g: (jnp.cos(x) * g,), (1,))


def only_float32(x):
    assert x.dtype == jnp.float32
    return jnp.sin(x)


def a_product(times=1):
    """In bfloat16 and float32, as a kernel may ask for."""

    def product(x, w):
        assert (x.dtype, w.dtype) == (jnp.bfloat16, jnp.float32)
        return (x.astype(jnp.float32) @ w).astype(jnp.bfloat16)

    def bwd(r, g):
        g = times * g.astype(jnp.float32)
        return (g @ r[1].T).astype(jnp.bfloat16), r[0].astype(jnp.float32).T @ g

    return rule(product, lambda x, w: (product(x, w), (x, w)), bwd)


@jax.jit
def cast_bwd(x, w, g):
    g, *wide = (a.astype(jnp.float32) for a in (g, x, w))
    return (g @ wide[1].T).astype(x.dtype), (wide[0].T @ g).astype(w.dtype)


C = np.arange(7.0)
# JAX 0.12 too keeps the width in which it first saw an array of NumPy, where no one can reach: engine/width.py.
UNLESS_0_12 = "inconclusive" if jax.__version_info__ >= (0, 11) else "correct"
LOW = jnp.asarray(X, jnp.bfloat16), W
ARGUMENTS = {
    "a static number": (scaled(), (X, 0.3), "correct"),
    "a static default": (scaled(), (X,), "correct"),
    "a static default, shapes": (scaled(), ("N",), "correct"),
    "a static number beside shapes": (scaled(), ("N", 0.3), "correct"),
    "a static number, wrong": (scaled(times=2), (X, 0.3), "wrong"),
    "a static string beside shapes": (named, ("N", "sin"), "correct"),
    "float32 alone": (only_float32, (X,), "correct"),
    "float32 alone, wrong": (
        rule(only_float32, lambda x: (only_float32(x), x), lambda x, g: (2 * jnp.cos(x) * g,)), (X,), "wrong"
    ),
    "mixed dtypes alone": (a_product(), LOW, "correct"),
    "mixed dtypes alone, wrong": (a_product(2), LOW, "wrong"),
    "a jitted backward that casts": (
        rule(jnp.matmul, lambda x, w: (x @ w, (x, w)), lambda r, g: cast_bwd(*r, g)), ("N D", "D K"), "correct"
    ),
    "a float64 constant of NumPy": (
        (lambda x: (jnp.sin(x) * C, x), lambda x, g: (g * jnp.cos(x) * C,)), ("N 7",), UNLESS_0_12
    ),
    "integers of NumPy": (lambda z: -jax.nn.log_softmax(z)[np.arange(5), LABELS].mean(), (X,), "correct"),
    "zero beside 2e-23": (
        (lambda x: (1e-7 * (jnp.cos(x) ** 2 + jnp.sin(x) ** 2), x), lambda x, g: (0 * g,)), ("N",), "correct"
    ),
    "a scalar for a static one": (
        (lambda x, n: (x**n, x), lambda x, g: (3 * x**2 * g, None)), (X, 3), "correct"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_taken_as_they_are(name):
    f, inputs, verdict = ARGUMENTS[name]
    report = check(f, *inputs, quick="2e-23" not in name)
    assert report.verdict == verdict, report
    assert not any(
        "not linear" in str(finding) or "could not be judged" in note
        for finding in report.findings
        for note in report.notes
    )


# ---------------------------------------------------------------- assumptions and purposes


def cross_entropy(z, y):
    z = z - z.max(axis=-1, keepdims=True)
    p = jnp.exp(z) / jnp.exp(z).sum(axis=-1, keepdims=True)
    return -(y * jnp.log(p)).sum() / len(z), (p, y)


def textbook(r, g, times=1):
    p, y = r
    return times * g * (p - y) / len(p), -g * jnp.log(p) / len(p)


def soft_labels_fwd(z: Float[Array, "N K"], y: Annotated[Float[Array, "N K"], gradcheck.simplex]):
    return cross_entropy(z, y)


def loss_of_labels(times=1):
    f = lambda z, y: -(y * jax.nn.log_softmax(z)).mean()  # noqa: E731
    dz = lambda r, g: times * g * (r[0] * r[1].sum(axis=-1, keepdims=True) - r[1]) / r[1].size  # noqa: E731
    return rule(f, lambda z, y: (f(z, y), (jax.nn.softmax(z), y)), lambda r, g: (dz(r, g), None))


def masked(x, mask):
    s = jnp.where(mask, x, -1e9)
    e = jnp.exp(s - s.max(axis=-1, keepdims=True))
    y = e / (e.sum(axis=-1, keepdims=True) + 1e-8)
    return y, (y, mask)


def masked_bwd(r, g):
    y, mask = r
    return jnp.where(mask, y * (g - (g * y).sum(axis=-1, keepdims=True)), 0.0), None


def until_still(turn, x):
    return jax.lax.while_loop(lambda x: jnp.abs(turn(x) - x).max() > 1e-7, turn, x)


def fixed_point(a, times=1.0, inside=False):
    """x = cos(a·x), with the derivative of the limit: dx = g + dx·∂cos(a·x)/∂x, by iteration ``inside`` too."""
    limit = lambda a: until_still(lambda x: jnp.cos(a * x), jnp.ones_like(a))  # noqa: E731

    def bwd(a, g):
        x = limit(a)
        slope = -a * jnp.sin(a * x)
        dx = until_still(lambda dx: g + dx * slope, g) if inside else g / (1 - slope)
        return (-times * dx * x * jnp.sin(a * x),)

    return rule(limit, lambda a: (limit(a), a), bwd)(a)


def spring_fwd(k, x):
    return jnp.tanh(k @ x), (k, x)


def spring_bwd(r, g, times=1.0):
    """As k is the same matrix as kᵀ, its entries above and below the diagonal share a gradient."""
    k, x = r
    d = g * (1 - jnp.tanh(k @ x) ** 2)
    dk = times * jnp.outer(d, x)
    return (dk + dk.T) / 2, k.T @ d


TEXTBOOK, SUMS = (cross_entropy, textbook), ("the rows of y sum to 1",)
CONDITIONS = [
    (TEXTBOOK, ("N K", "N K"), {}, SUMS),
    (TEXTBOOK, (X, ONE_HOT), {}, ()),
    (TEXTBOOK, ("N K", "N K"), {"draw": {"y": gradcheck.one_hot}}, ()),
    (TEXTBOOK, ("N K", "N K"), {"draw": {"y": lambda rng, shape: rng.dirichlet(np.ones(shape[-1]), shape[0])}}, ()),
    ((soft_labels_fwd, textbook), (), {}, ()),
    (loss_of_labels(), ("N K", "N K"), {}, ("y is not differentiated",)),
    (loss_of_labels(), ("N K", "N K"), {"argnums": 0}, ()),
    ((masked, masked_bwd), ("N K", "N K:bool"), {}, ("1e-08 in the forward is negligible",)),
    ((spring_fwd, spring_bwd), ("N N", "N"), {}, ("k is symmetric, and stays so",)),
    (fixed_point, (HALVES,), {}, ("1e-07 in the forward is negligible",)),
    (functools.partial(fixed_point, inside=True), (HALVES,), {}, ("1e-07 in the forward is negligible",)),
]


@pytest.mark.parametrize(("target", "inputs", "settings", "conditions"), CONDITIONS)
def test_a_verdict_has_its_conditions(target, inputs, settings, conditions):
    report = check(target, *inputs, **settings, quick=True)
    assert (report.verdict, report.conditions) == ("correct", conditions), report
    assert all(condition in str(report).splitlines()[0] for condition in conditions)


@pytest.mark.slow
def test_no_assumption_makes_another_mistake_right():
    report = check((cross_entropy, functools.partial(textbook, times=2)), "N K", "N K", quick=True)
    assert report.verdict == "wrong"
    guarded = check((masked, lambda r, g: (1.0001 * masked_bwd(r, g)[0], None)), "N K", "N K:bool", quick=True)
    assert guarded.verdict == "wrong"
    far = check(functools.partial(fixed_point, times=1.00001), HALVES, quick=True)
    assert far.verdict == "wrong"
    stiff = check((spring_fwd, functools.partial(spring_bwd, times=1.01)), "N N", "N", quick=True)
    assert stiff.verdict == "wrong"
    no_mask = check((lambda x: (jnp.maximum(x, 0), x), lambda x, g: (g,)), "N K", quick=True)  # right if x is positive
    assert no_mask.verdict == "wrong"


def test_none_hides_nothing():
    report = check(loss_of_labels(7), "N K", "N K", quick=True)
    assert (report.verdict, {f.argument for f in report.findings}) == ("wrong", {"z"})
    fwd = lambda z, y: (-(y * jax.nn.log_softmax(z)).mean(), (jax.nn.softmax(z), y))  # noqa: E731
    pair = check((fwd, lambda r, g: (7 * g * (r[0] * r[1].sum(-1, keepdims=True) - r[1]) / r[1].size, None)), X, Y)
    assert {(f.argument, f.mistake == "wrong-structure") for f in pair.findings} == {("y", True), ("z", False)}


def test_a_gradient_that_differs_on_purpose_names_its_function():
    rounded = rule(lambda x: jnp.round(x), lambda x: (jnp.round(x), None), lambda _, g: (g,))
    assert check(rounded, X, surrogate=lambda x: x)
    assert check(rounded, X).mistakes == ("constant-forward",)
    clipped = rule(lambda x: x, lambda x: (x, x), lambda x, g: (jnp.where(jnp.abs(x) < 1, g, 0.0),))
    assert check(clipped, X, surrogate=lambda x: jnp.clip(x, -1, 1))
    assert check(clipped, X, surrogate=lambda x: jnp.clip(x, -0.5, 1)).verdict == "wrong"


def test_a_reference_is_compared_in_value_too():
    kernel = rule(on_the_host, lambda x: (on_the_host(x), x), lambda x, g: (jnp.cos(x) * g,))
    report = check(kernel, X, reference=jnp.sin)
    assert (report.verdict, report.reference) == ("correct", "autodiff of the function given as reference")
    assert check(kernel, X, reference=jnp.tanh).mistakes == ("primal-mismatch",)


# ---------------------------------------------------------------- the answer


def test_a_report_is_true_if_it_is_correct_and_is_its_own_repr():
    good, bad = check(square, X, quick=True), check(half, X, quick=True)
    assert (bool(good), bool(bad)) == (True, False)
    assert repr(bad) == str(bad)


def test_an_exception_while_explaining_leaves_the_verdict(monkeypatch):
    def fails(*given):
        raise ZeroDivisionError("of the checker's own")

    monkeypatch.setattr(sys.modules["funcnet.gradcheck.check"], "diagnose", fails)
    (finding,) = check(half, X, quick=True).findings
    assert (finding.argument, finding.mistake) == ("x", "unexplained")
    assert "ended in ZeroDivisionError: of the checker's own" in finding.explanation
