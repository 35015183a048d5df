"""Estimates the population statistics that batch normalisation uses in inference."""

import jax
import jax.numpy as jnp
from jax import lax

from ..ops.normalization import Population
from ..types import Layer, Params


def calibrate(net: Layer, params: Params, batches, key) -> Params:
    """``params`` with every ``Population`` replaced by its mean over the batches, and everything else as it is.

    E[x] = E_B[μ_B],  Var[x] = E_B[σ_B² m/(m − 1)] (Ioffe & Szegedy 2015, algorithm 2). ``batches`` are inputs with axes
    (batches, examples, ...), drawn at random: sorted examples give wrong statistics. The forward runs in training, as
    the input of one layer depends on those below it. If the net has dropout, pass the same net built with rate 0, whose
    parameters are the same.

    It relies on every combinator to hold residuals in the order of its params. Raises ValueError if a batch is a single
    example, which has no variance.
    """
    if not has_population(params):
        return params
    held, structure = jax.tree.flatten(params, is_leaf=_is_population)
    count, examples = jax.tree.leaves(batches)[0].shape[:2]
    if examples < 2:
        raise ValueError("calibrate expects batches of two examples at least: one has no variance")

    def statistics(numbered):
        number, x = numbered
        _, residuals = net.fwd(params, x, jax.random.fold_in(key, number))
        return [node for node in jax.tree.leaves(residuals, is_leaf=_is_population) if _is_population(node)]

    found = lax.map(statistics, (jnp.arange(count), batches))
    averages = iter(jax.tree.map(lambda each: each.mean(axis=0), found))

    def replaced(node):
        if not _is_population(node):
            return node
        return jax.tree.map(lambda average, old: average.astype(old.dtype), next(averages), node)

    return jax.tree.unflatten(structure, map(replaced, held))


def has_population(params: Params) -> bool:
    """Whether anything in ``params`` is batch-normalised."""
    return any(map(_is_population, jax.tree.leaves(params, is_leaf=_is_population)))


def _is_population(node) -> bool:
    return isinstance(node, Population)
