"""The path and the line: derivations of layer norm and attention with one path or two gone wrong."""

import linecache

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jaxtyping import Array, Float

from funcnet import gradcheck


def layer_norm_fwd(x: Float[Array, "N D"], gain: Float[Array, "D"]):
    mean = x.mean(axis=-1, keepdims=True)
    c = x - mean
    var = jnp.mean(c * c, axis=-1, keepdims=True)
    xhat = c / jnp.sqrt(var + 1e-5)
    y = gain[None] * xhat
    return y, (xhat, var, gain)


MEAN, VAR = "mean = x.mean(axis=-1, keepdims=True)", "var = jnp.mean(c * c, axis=-1, keepdims=True)"


def layer_norm(mean=1.0, var=1.0, over=1):
    """The right backward, with its mean's and its variance's path scaled."""

    def bwd(residuals, dy):
        xhat, variance, gain = residuals
        d = dy * gain[None]
        along = (d * xhat).mean(axis=-1, keepdims=True) * (d.shape[-1] if over == "D" else 1)
        dx = (d - mean * d.mean(axis=-1, keepdims=True) - var * xhat * along) / jnp.sqrt(variance + 1e-5)
        return dx, (dy * xhat).sum(axis=0)

    return layer_norm_fwd, bwd


def attention_fwd(q: Float[Array, "T D"], k: Float[Array, "S D"], v: Float[Array, "S E"]):
    scale = q.shape[-1] ** -0.5
    s = (q @ k.T) * scale
    e = jnp.exp(s - s.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p @ v, (q, k, v, p, scale)


def attention(scaled=True, row_sum=1.0):
    def bwd(residuals, dy):
        q, k, v, p, scale = residuals
        dp = dy @ v.T
        ds = p * (dp - row_sum * (dp * p).sum(axis=-1, keepdims=True))
        return ds @ k * (scale if scaled else 1), ds.T @ q * scale, p.T @ dy

    return attention_fwd, bwd


def gate_fwd(a: Float[Array, "N D"], w: Float[Array, "D K"]):
    z = a @ w
    s = jax.nn.sigmoid(z)
    return z * s, (a, w, z, s)


def gate(slope=True):
    def bwd(residuals, dy):
        a, w, z, s = residuals
        dz = dy * s + dy * z * (s * (1 - s) if slope else 1)
        return dz @ w.T, a.T @ dz

    return gate_fwd, bwd


CASES = [
    (layer_norm(var=0), ["path-lost"], [VAR], None),
    (layer_norm(mean=0), ["path-lost"], [MEAN], None),
    (layer_norm(mean=-1), ["sign-flipped"], [MEAN], None),
    (layer_norm(var=2), ["counted-twice"], [VAR], None),
    (layer_norm(var=0.7), ["wrong-scale"], [VAR], None),
    (layer_norm(over="D"), ["missing-mean-divisor"], [VAR], "D"),
    (layer_norm(mean=0, var=-1), ["path-lost", "sign-flipped"], [MEAN, VAR], None),
    (attention(scaled=False), ["wrong-scale"], ["s = (q @ k.T) * scale"], "D"),
    (attention(row_sum=0), ["path-lost"], ["p = e / e.sum(axis=-1, keepdims=True)"], None),
    (gate(slope=False), ["missing-factor"], ["s = jax.nn.sigmoid(z)"], None),
]


@pytest.mark.parametrize(
    ("rule", "mistakes", "lines", "axis"),
    [pytest.param(*case, marks=pytest.mark.slow if i % 2 else ()) for i, case in enumerate(CASES)],
)
def test_the_mistake_and_the_line_are_named(rule, mistakes, lines, axis):
    report = gradcheck.check(rule)
    assert report.verdict == "wrong"
    found = {(f.mistake, f.source) for f in report.findings}
    assert found == set(zip(mistakes, lines, strict=True))
    assert report.findings[0].axis == axis
    for finding in report.findings:
        assert finding.file == __file__
        assert linecache.getline(__file__, finding.line).strip() == finding.source
        assert f"{finding.line}: {finding.source}" in str(report)


@pytest.mark.parametrize("rule", [layer_norm(), attention(), gate()], ids=["layer_norm", "attention", "gate"])
def test_the_right_ones_are_right(rule):
    assert gradcheck.check(rule).verdict == "correct"


def test_a_path_inside_a_scan_has_its_line():
    """A running sum h ← a·h + x: the loop's body is part of the graph."""

    def fwd(x: Float[Array, "T"], a: Float[Array, ""]):
        def step(h, x_t):
            kept = a * h
            return kept + x_t, kept

        h, kept = lax.scan(step, jnp.zeros_like(x[0]), x)
        return h, (kept, a, x)

    def bwd(residuals, dy):
        kept, a, x = residuals
        powers = a ** jnp.arange(len(x) - 1, -1, -1, dtype=x.dtype)
        before = kept / a
        return dy * powers, jnp.zeros_like(dy + (powers * before).sum())  # da is lost

    (finding,) = gradcheck.check((fwd, bwd)).findings
    assert (finding.argument, finding.mistake, finding.source) == ("a", "path-lost", "kept = a * h")


# ---------------------------------------------------------------- loops, branches, helpers


def recurrence_fwd(x: Float[Array, "T"], a: Float[Array, ""]):
    def step(h, x_t):
        kept = a * h
        h = jnp.tanh(kept + x_t)
        return h, h

    _, y = lax.scan(step, jnp.ones_like(x[0]), x)
    before = jnp.concatenate([jnp.ones_like(y[:1]), y[:-1]])
    return y, (before, y, a)


def recurrence(factor=1.0, slope=lambda y: 1 - y * y, of_a=lambda terms: terms.sum()):
    """The right backward, with a factor on what flows from step to step, another slope, or da from some steps only."""

    def bwd(residuals, dy):
        before, y, a = residuals

        def step(dh, inputs):
            dy_t, y_t = inputs
            dz = (dh + dy_t) * slope(y_t)
            return factor * a * dz, dz

        _, dz = lax.scan(step, jnp.zeros_like(dy[0]), (dy, y), reverse=True)
        return dz, of_a(dz * before)

    return recurrence_fwd, bwd


KEPT, TANH = "kept = a * h", "h = jnp.tanh(kept + x_t)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "mistake", "line", "factor"),
    [
        (recurrence(factor=0.0), "path-lost", KEPT, 0),
        (recurrence(factor=0.9), "wrong-scale", KEPT, 0.9),
        (recurrence(slope=lambda y: 1 - jnp.tanh(y) ** 2), "derivative-at-output", TANH, None),
        (recurrence(of_a=lambda terms: terms[0]), "overwritten", KEPT, 0),
    ],
)
def test_a_mistake_that_every_step_of_a_loop_repeats(rule, mistake, line, factor):
    (finding,) = gradcheck.check(rule).findings
    assert (finding.mistake, finding.source) == (mistake, line)
    assert finding.factor == (factor if factor is None else pytest.approx(factor))


def test_the_recurrence_is_right():
    assert gradcheck.check(recurrence()).verdict == "correct"


def test_a_path_inside_a_branch_has_its_line():
    def fwd(x: Float[Array, "N"]):
        def inside(v):
            cube = v**3
            return v + cube

        return lax.cond(x.size > 0, inside, jnp.sin, x), (x,)

    (finding,) = gradcheck.check((fwd, lambda residuals, dy: (dy * (1 + residuals[0] ** 2),))).findings
    assert (finding.mistake, finding.source, finding.factor) == ("wrong-scale", "cube = v**3", pytest.approx(1 / 3))


def test_a_helper_used_twice_has_one_factor():
    """y = g(g(x)) with g(v) = v + v²/10, and g′ taken as 1 + v/10 both times."""

    def helper(v):
        square = 0.1 * v * v
        return v + square

    def fwd(x: Float[Array, "N"]):
        once = helper(x)
        return helper(once), (x, once)

    def bwd(residuals, dy):
        x, once = residuals
        return (dy * (1 + 0.4 * once) * (1 + 0.4 * x),)

    (finding,) = gradcheck.check((fwd, bwd)).findings
    assert (finding.mistake, finding.source) == ("counted-twice", "return v + square")


# ---------------------------------------------------------------- wrong local derivatives


def chain_fwd(x: Float[Array, "N D"], w: Float[Array, "D D"], g: Float[Array, "D"]):
    z = x @ w
    s = 1 / (1 + jnp.exp(-z))
    open_ = jnp.where(z > 0, s, 0.1 * s)
    p = jnp.where(x > 1, x, open_)
    n = p * g[None, :]
    y = n / jnp.sqrt(jnp.sum(n * n, axis=1, keepdims=True) + 1)
    return y, (x, w, g, z, s, p, n)


def chain(slope=lambda z, s: s * (1 - s), first=True, second=True, turned=False, gain=True, norm=True):
    """The right backward; or another slope of s, a mask forgotten, w not transposed, the gain or the norm left out."""

    def bwd(residuals, dy):
        x, w, g, z, s, p, n = residuals
        size = jnp.sqrt(jnp.sum(n * n, axis=1, keepdims=True) + 1)
        dn = dy - n * jnp.sum(n * dy, axis=1, keepdims=True) / size**2
        dn = dn / size if norm else dn
        dp = dn * g[None, :] if gain else dn
        down = jnp.where(x > 1, 0.0, dp) if second else dp
        ds = down * jnp.where(z > 0, 1, 0.1) if first else down
        dz = ds * slope(z, s)
        return dz @ (w if turned else w.T) + jnp.where(x > 1, dp, 0.0), x.T @ dz, (dn * p).sum(axis=0)

    return chain_fwd, bwd


S, OPEN, P = "s = 1 / (1 + jnp.exp(-z))", "open_ = jnp.where(z > 0, s, 0.1 * s)", "p = jnp.where(x > 1, x, open_)"
LOCAL = [
    (chain(slope=lambda z, s: z * (1 - z)), "derivative-at-input", S),
    (chain(second=False), "wrong-mask", P),
    (chain(turned=True), "wrong-operand-transposed", "z = x @ w"),
    (chain(norm=False), "missing-factor", "y = n / jnp.sqrt(jnp.sum(n * n, axis=1, keepdims=True) + 1)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "mistake", "line"), LOCAL)
def test_a_wrong_derivative_of_one_line_amid_others(rule, mistake, line):
    (finding,) = gradcheck.check(rule).findings
    assert (finding.mistake, finding.source) == (mistake, line)


@pytest.mark.slow
def test_the_chain_is_right():
    assert gradcheck.check(chain()).verdict == "correct"
