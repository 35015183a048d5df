"""Comparison of trees with plain means: what the checker itself is tested against, and not by."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(seed, tree):
    """A standard normal tree in the shapes and dtypes of ``tree``; made by NumPy, which compiles nothing."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def differentiable(arg) -> bool:
    return arg is not None and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(arg))


def assert_close(got, expected, relative, floor):
    """|got − expected| ≤ relative·|expected| + floor·max|expected|, leaf by leaf, in one tree, shape and dtype."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert g.shape == e.shape
        scale = np.abs(e).max(initial=0)
        np.testing.assert_array_less(np.abs(g - e), relative * np.abs(e) + floor * scale + 1e-300)
