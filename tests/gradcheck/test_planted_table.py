"""The exam itself is sound: the right backwards are right, every planted one is wrong, every line and id exists."""

import inspect
import typing
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.gradcheck.mistakes import MISTAKES
from funcnet.types import Below
from tests.gradcheck.forwards import FORWARDS
from tests.gradcheck.planted import PLANTED
from tests.gradcheck.planting import NOT_PLANTABLE, PATH_MISTAKES
from tests.gradcheck.unseen import UNSEEN
from tests.trees import assert_close, differentiable, draw

# Coprime and at least 5, given to the axes of a forward in order of appearance; "*B" becomes one axis, then two.
SIZES = [(5, 7, 11, 13, 17), (13, 9, 5, 7, 8)]
LEADING = [(11,), (7, 5)]


def arguments(fwd, sizes, leading):
    """Arguments drawn from the annotations of ``fwd``."""
    rng = np.random.default_rng(len(leading))
    axes, left = {}, iter(sizes)

    def shape(dims):
        for dim in dims.split():
            if dim.startswith("*"):
                yield from leading
            elif dim.isdigit():
                yield int(dim)
            else:
                axes[dim] = axes.get(dim) or next(left)
                yield axes[dim]

    hints = typing.get_type_hints(fwd, include_extras=True)
    for name in inspect.signature(fwd).parameters:
        array, *rest = typing.get_args(hints[name]) or [hints[name]]
        below = next((axes[extra.axis] for extra in rest if isinstance(extra, Below)), None)
        dims = tuple(shape(array.dim_str))
        if below is not None:
            yield rng.integers(below, size=dims)
        elif "bool" in array.dtypes:
            yield rng.random(dims) < 0.6
        else:
            yield rng.normal(size=dims)


@cache
def reference(name, which):
    """The residuals, a cotangent, the truth by autodiff and the right backward, for a forward on one set of sizes."""
    fwd = FORWARDS[name].fwd
    args = tuple(arguments(fwd, SIZES[which], LEADING[which]))
    floats = [i for i, arg in enumerate(args) if differentiable(arg)]

    def primal(*values):
        whole = list(args)
        for i, value in zip(floats, values, strict=True):
            whole[i] = value
        return fwd(*whole)

    @jax.jit
    def run(values, dy):
        _, vjp, residuals = jax.vjp(primal, *values, has_aux=True)
        return residuals, vjp(dy), FORWARDS[name].bwd(residuals, dy)

    values = [args[i] for i in floats]
    dy = draw(3, jax.eval_shape(primal, *values)[0])
    residuals, truth, right = run(values, dy)
    expected = [None] * len(args)
    for i, cotangent in zip(floats, truth, strict=True):
        expected[i] = cotangent
    return residuals, dy, tuple(expected), right


def differs(planted, name, which):
    """Why the backward is wrong on one set of sizes, or None where it is right there."""
    residuals, dy, expected, _ = reference(name, which)
    try:
        got = jax.jit(planted.rule.bwd)(residuals, dy)
    except (TypeError, ValueError):
        return "raises"
    if jax.tree.structure(got) != jax.tree.structure(expected):
        return "structure"
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if g.shape != e.shape:
            return "shape"
        if g.dtype != e.dtype:
            return "dtype"
        if not np.isfinite(g).all():
            return "not finite"
        if np.abs(g - e).max() > 1e-6 * np.abs(e).max():
            return "values"
    return None


def forward_of(planted):
    return next(name for name, rule in FORWARDS.items() if rule.fwd is planted.rule.fwd)


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("which", [0, 1])
def test_the_right_backward_is_right(name, which):
    *_, expected, right = reference(name, which)
    assert_close(right, expected, 1e-10, 1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("planted", [*PLANTED, *UNSEEN], ids=lambda planted: planted.name)
def test_the_planted_backward_is_wrong(planted):
    found = [differs(planted, forward_of(planted), which) for which in (0, 1)]
    by_structure = {
        "wrong-structure": ("raises", "structure"),
        "wrong-shape": ("shape",),
        "wrong-dtype": ("dtype",),
        "not-finite": ("not finite",),
    }
    if planted.mistakes == ("rank-assumption",):
        assert found == [None, "shape"]
    elif planted.mistakes[0] in by_structure:
        assert all(why in by_structure[planted.mistakes[0]] for why in found)
    elif "shape" in found:
        assert planted.mistakes[0] in (
            "missing-broadcast-sum",
            "wrong-reduction-axis",
            "transposed",
            "swapped-cotangents",
        )
    else:
        assert found == ["values", "values"]


@pytest.mark.parametrize("planted", [*PLANTED, *UNSEEN], ids=lambda planted: planted.name)
def test_the_planted_diagnosis_is_well_formed(planted):
    source = [line.strip() for line in inspect.getsource(planted.rule.fwd).splitlines()]
    for line in (planted.line, planted.second_line):
        assert line is None or source.count(line) == 1
    assert set(planted.mistakes) <= MISTAKES.keys()
    if planted.two_at_once:
        assert len(planted.mistakes) == 2
    else:
        assert len(planted.mistakes) in (1, 2)
        assert planted.second_line is None


def test_the_table_is_large_and_spread():
    assert len({planted.name for planted in PLANTED}) == len(PLANTED) >= 64
    assert len({forward_of(planted) for planted in PLANTED}) >= 22
    assert sum(planted.mistakes[0] in PATH_MISTAKES and planted.line is not None for planted in PLANTED) >= 25
    assert sum(planted.two_at_once for planted in PLANTED) >= 4
    assert {mistake for planted in PLANTED for mistake in planted.mistakes} == MISTAKES.keys() - set(NOT_PLANTABLE)


def test_the_second_table_is_large_and_spread():
    assert len(UNSEEN) >= 30
    assert len({planted.name for planted in [*PLANTED, *UNSEEN]}) == len(PLANTED) + len(UNSEEN)
    assert len({forward_of(planted) for planted in UNSEEN}) >= 20


def test_a_forward_is_finite_and_its_residuals_are_arrays():
    for rule in FORWARDS.values():
        y, residuals = jax.eval_shape(rule.fwd, *arguments(rule.fwd, SIZES[0], LEADING[0]))
        assert jnp.issubdtype(y.dtype, jnp.floating)
        assert all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(residuals))
