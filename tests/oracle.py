"""The oracle of the tests: ``jax.vjp`` of the undecorated forward, with random cotangents."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.types import Layer, Rule


def draw(seed, tree):
    """A standard normal tree in the shapes and dtypes of ``tree``; made by NumPy, which compiles nothing."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def cast(tree, dtype):
    """``tree`` with its float leaves in ``dtype``, as NumPy arrays, which cost no compilation."""

    def leaf(a):
        return np.asarray(a).astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(leaf, tree)


def as_rule(layer: Layer) -> Rule:
    """A layer as a rule on (params, x, key)."""
    return Rule(layer.fwd, lambda residuals, dy: (*layer.bwd(residuals, dy), None))


def differentiable(arg) -> bool:
    return arg is not None and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(arg))


def assert_close(got, expected, relative, floor):
    """|got − expected| ≤ relative·|expected| + floor·max|expected|, leaf by leaf, in one tree, shape and dtype."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert g.shape == e.shape
        scale = np.abs(e).max(initial=0)
        np.testing.assert_array_less(np.abs(g - e), relative * np.abs(e) + floor * scale + 1e-300)


def assert_derivation(rule: Rule, args, dtype=np.float64):
    """``rule.bwd`` is the VJP of ``rule.fwd``: compared with autodiff in float64, and linear in its cotangent.

    In float32 the rule computes in float32 and is still compared with the float64 reference.
    """
    float_args = [i for i, arg in enumerate(args) if differentiable(arg)]
    args64, args = cast(tuple(args), np.float64), cast(tuple(args), dtype)

    def primal(*float_values):
        values = list(args64)
        for i, value in zip(float_args, float_values, strict=True):
            values[i] = value
        return rule.fwd(*values)[0]

    @jax.jit  # one compilation for all: op by op takes seconds
    def run(args, reference_args, dy, other):
        y, residuals = rule.fwd(*args)
        y64, vjp = jax.vjp(primal, *reference_args)
        combined = jax.tree.map(lambda a, b: 3 * a + b, dy, other)
        cotangents = [rule.bwd(residuals, cotangent) for cotangent in (dy, other, combined)]
        return y, y64, cotangents, vjp(jax.tree.map(lambda a: a.astype(np.float64), dy))

    dy, other = (draw(seed, jax.eval_shape(lambda args: rule.fwd(*args)[0], args)) for seed in (97, 98))
    y, y64, (got, got_other, got_combined), expected = run(args, tuple(args64[i] for i in float_args), dy, other)

    assert len(got) == len(args)
    for i, cotangent in enumerate(got):
        if i in float_args:
            assert jax.tree.map(lambda a: a.dtype, cotangent) == jax.tree.map(lambda a: a.dtype, args[i])
        else:
            assert cotangent is None
    relative, floor = (1e-10, 1e-13) if dtype == np.float64 else (1e-5, 3e-6)
    assert_close(cast(y, np.float64), y64, relative, floor)
    assert_close(tuple(cast(got[i], np.float64) for i in float_args), expected, relative, floor)
    summed = jax.tree.map(lambda a, b: 3 * a + b, cast(got, np.float64), cast(got_other, np.float64))
    assert_close(cast(got_combined, np.float64), summed, 10 * relative, 10 * floor)
