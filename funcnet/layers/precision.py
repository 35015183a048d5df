"""A network that computes in another dtype than its parameters have."""

from typing import Any

import jax
import jax.numpy as jnp

from ..types import Layer, at_least_float32, require_made


def computed_in(layer: Layer, dtype: Any, out: Any = None) -> Layer:
    """``layer`` with its float parameters and inputs cast to ``dtype``, and what it returns to ``out``.

    Parameters, and so the optimizer's state and its updates, keep the dtype that they have: bfloat16 beside float32
    parameters is mixed precision (Micikevicius et al. 2018, section 3.1). ``out`` is by default float32, or wider if
    ``dtype`` is, so that a loss is computed in it. Sums in losses, norms and softmax are in float32 or wider anyway.

    bwd: a cast is linear, and its transpose is the cast back; so dy is cast to ``dtype``, dparams and dx to what the
    arguments had. Raises TypeError unless ``layer`` is a Layer and ``dtype`` that of floats.
    """
    require_made("computed_in", Layer, layer)
    dtype = _float(dtype)
    out = at_least_float32(dtype) if out is None else _float(out)

    def fwd(params, x, key=None):
        y, residuals = layer.fwd(cast(params, dtype), cast(x, dtype), key)
        return cast(y, out), (residuals, *map(_dtypes, (params, x, y)))

    def bwd(residuals, dy):
        residuals, of_params, of_x, of_y = residuals
        dparams, dx = layer.bwd(residuals, _as(of_y, dy))
        return _as(of_params, dparams), None if dx is None else _as(of_x, dx)

    def again(part: Layer) -> Layer:
        return computed_in(part, dtype, out)

    return Layer(layer.init, fwd, bwd, f"computed_in({dtype})", (layer,), again)


def cast(tree: Any, dtype: Any) -> Any:
    """The tree with its float leaves in ``dtype``."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else a, tree)


def _dtypes(tree: Any) -> list[Any]:
    """Scalars that remember the dtypes of the leaves, as residuals hold arrays only; a list, as they are not params."""
    return [jnp.zeros((), leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _as(dtypes: list[Any], tree: Any) -> Any:
    """The tree with its leaves in the dtypes that are remembered."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [leaf.astype(to.dtype) for leaf, to in zip(leaves, dtypes, strict=True)])


def _float(dtype: Any) -> Any:
    """Raises TypeError for what is no dtype of floats."""
    if not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise TypeError(f"computed_in expects a dtype of floats, such as jnp.bfloat16; got {dtype}")
    return jnp.dtype(dtype)
