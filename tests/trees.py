"""Comparison of trees without the checker, for tests of the checker and of long rules."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(seed, tree):
    """A standard normal tree with the shapes and dtypes of ``tree``, drawn by NumPy, which compiles nothing."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def differentiable(arg) -> bool:
    return arg is not None and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(arg))


def assert_is_vjp(fwd, bwd, args):
    """Compares the backward with ``jax.vjp`` of the forward in float64, in a single compiled program."""
    chosen = [i for i, arg in enumerate(args) if differentiable(arg)]
    dy = draw(1, jax.eval_shape(lambda *args: fwd(*args)[0], *args))

    @jax.jit
    def both(args, dy):
        def primal(*floats):
            return fwd(*(floats[chosen.index(i)] if i in chosen else arg for i, arg in enumerate(args)))[0]

        return bwd(fwd(*args)[1], dy), jax.vjp(primal, *(args[i] for i in chosen))[1](dy)

    got, expected = both(args, dy)
    assert all(got[i] is None for i in range(len(args)) if i not in chosen)
    assert_close(tuple(got[i] for i in chosen), expected, 1e-10, 1e-12)


def assert_close(got, expected, relative, floor):
    """|got − expected| ≤ relative·|expected| + floor·max|expected| per leaf; trees, shapes and dtypes are equal."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert g.shape == e.shape
        scale = np.abs(e).max(initial=0)
        np.testing.assert_array_less(np.abs(g - e), relative * np.abs(e) + floor * scale + 1e-300)


def assert_equal(got, expected):
    """Equal trees with every leaf equal to the bit, keys included."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert g.dtype == e.dtype
        assert bool((g == e).all())
