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


@pytest.mark.parametrize(("rule", "mistakes", "lines", "axis"), CASES)
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
