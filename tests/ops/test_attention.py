import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close

# (queries, keys) in their shapes without features, and the mask's
SHAPES = {
    "padding of grouped heads": ((2, 6, 5), (2, 3, 7), (2, 1, 1, 7)),
    "more queries than keys": ((2, 7), (2, 3), None),
}


def arguments(shapes):
    queries, keys, mask = shapes
    seen = None if mask is None else jnp.asarray(np.random.default_rng(3).random(mask) < 0.6)
    arrays = normal(0, *queries, 8), normal(1, *keys, 8), normal(2, *keys, 4)
    return *map(jnp.asarray, arrays), seen


@pytest.mark.parametrize(
    ("name", "causal", "block"),
    [("padding of grouped heads", True, 3), ("more queries than keys", False, 100)],
)
def test_in_blocks_it_is_the_plain_attention(name, causal, block):
    args = arguments(SHAPES[name])
    dy = jnp.asarray(normal(4, *args[0].shape[:-1], 4))

    @jax.jit
    def both(args, dy):
        forms = ops.attention(causal), ops.flash_attention(causal, block=block)
        return [(rule.fwd(*args)[0], rule.bwd(rule.fwd(*args)[1], dy)) for rule in forms]

    expected, got = both(args, dy)
    assert_close(got, expected, 1e-11, 1e-13)


FORMS = [pytest.param(ops.attention, id="plain"), pytest.param(ops.flash_attention, id="blocks")]


@pytest.mark.parametrize("form", FORMS)
def test_a_query_that_sees_nothing_gives_zeros_and_moves_nothing(form):
    q, k, v = (jnp.asarray(normal(seed, 3, 4)) for seed in range(3))
    y, residuals = jax.jit(form().fwd)(q, k, v, jnp.array([[True, True, False], [False] * 3, [True] * 3]))
    dy = jnp.zeros((3, 4)).at[1].set(1e6)
    assert not y[1].any()
    assert jnp.isfinite(y).all()
    assert y[0].any()
    assert not any(d.any() for d in jax.jit(form().bwd)(residuals, dy)[:3])


@pytest.mark.parametrize("form", FORMS)
def test_the_last_query_sees_all_and_none_sees_what_comes_after(form):
    """As with a cache of keys: the last two queries alone give the same as among all queries."""
    q, k, v = (jnp.asarray(normal(seed, 5, 4)) for seed in range(3))
    parts = (q, k, v), (q[3:], k, v), (q[:3], k[:3], v[:3])
    y, last, first, alone = jax.jit(
        lambda: [*(form(causal=True).fwd(*part)[0] for part in parts), form().fwd(q[4:], k, v)[0]]
    )()
    np.testing.assert_allclose(y[0], v[0], rtol=1e-14)
    np.testing.assert_allclose(last, y[3:], rtol=1e-13)
    np.testing.assert_allclose(first, y[:3], rtol=1e-13)
    np.testing.assert_allclose(alone[0], y[4], rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_any_size_are_finite(form):
    """e^1000 overflows; a hidden score does not count, however large."""
    q, k, v = jnp.full((1, 1), 1e3), jnp.array([[1.0], [-1.0], [1e200]]), jnp.array([[2.0], [3.0], [5.0]])
    y, residuals = jax.jit(form().fwd)(q, k, v, jnp.array([True, True, False]))
    assert y.tolist() == [[2.0]]
    assert all(jnp.isfinite(d).all() for d in jax.jit(form().bwd)(residuals, jnp.ones((1, 1)))[:3])


def test_the_scale_defaults_to_the_number_of_features():
    q, k, v = (jnp.asarray(normal(seed, 3, 4)) for seed in range(3))
    for form in (ops.attention, ops.flash_attention):
        given = jax.jit(lambda form=form: [form(scale=scale).fwd(q, k, v)[0] for scale in (None, 1 / 2, 0.0)])()
        np.testing.assert_allclose(given[0], given[1], rtol=1e-14)
        np.testing.assert_allclose(given[2], np.broadcast_to(v.mean(0), (3, 4)), rtol=1e-13)


def test_in_blocks_no_array_has_the_size_of_the_weights():
    shape = jax.ShapeDtypeStruct((1000, 8), float)
    rule = ops.flash_attention(causal=True, block=10)

    def both(q, k, v, dy):
        _, residuals = rule.fwd(q, k, v)
        return residuals, rule.bwd(residuals, dy)

    residuals, _ = jax.eval_shape(both, shape, shape, shape, shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(residuals)) == 1000 * (4 * 8 + 1)
    compiled = jax.jit(both).lower(shape, shape, shape, shape).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 1000 * 1000 * 8 / 4


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 8), (7, 9), (7, 9), None), "q .5, 8., k .7, 9."),
        (((5, 8), (7, 8), (6, 8), None), "k .7, 8., v .6, 8."),
        (((6, 5, 8), (4, 7, 8), (4, 7, 8), None), "fewer heads that divide H"),
        (((5, 8), (0, 8), (0, 8), None), "and at least one key"),
        (((5, 8), (7, 8), (7, 8), (7, 5)), r"mask that broadcasts to \(5, 7\); got bool \(7, 5\)"),
        (((5, 8), (7, 8), (7, 8), (2, 5, 7)), r"got bool \(2, 5, 7\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    *arrays, mask = shapes
    args = *map(jnp.ones, arrays), None if mask is None else jnp.ones(mask, bool)
    for form in (ops.attention, ops.flash_attention):
        with pytest.raises(ShapeError, match=message):
            form().fwd(*args)


@pytest.mark.parametrize("form", [ops.attention, ops.flash_attention])
@pytest.mark.parametrize("batch", [(0,), (0, 4)], ids=str)
def test_an_empty_batch(form, batch):
    args = [jnp.ones((*batch, T, 8)) for T in (5, 7, 7)]
    y, residuals = form(causal=True).fwd(*args)
    assert [d.shape for d in form(causal=True).bwd(residuals, y)[:3]] == [arg.shape for arg in args]
    assert y.shape == args[0].shape


def test_invalid_settings():
    with pytest.raises(ValueError, match="at least one key in a block; got 0"):
        ops.flash_attention(block=0)
    with pytest.raises(ShapeError, match=r"boolean mask .* got float64"):
        ops.attention().fwd(jnp.ones((5, 8)), jnp.ones((7, 8)), jnp.ones((7, 8)), jnp.ones((5, 7)))
