"""Optimizers agree with optax step for step, keep dtypes and buffers apart, and obey their laws."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet import optimizers, schedules
from funcnet.ops.penalties import WEIGHTS, named

PARAMS = ({"w": (3, 5), "b": (5,)}, {}, {"table": (7, 2), "inner": {"gamma": (11,)}})
MASK = ({"w": True, "b": False}, {}, {"table": True, "inner": {"gamma": False}})

# name -> (ours, optax's), both functions of the learning rate. A starred row leaves every default.
OPTIMIZERS = {
    "sgd": (optimizers.sgd, optax.sgd),
    "momentum": (optimizers.momentum, lambda rate: optax.sgd(rate, momentum=0.9)),
    "momentum*": (lambda rate: optimizers.momentum(rate, 0.6), lambda rate: optax.sgd(rate, momentum=0.6)),
    "nesterov": (optimizers.nesterov, lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True)),
    "nesterov*": (
        lambda rate: optimizers.nesterov(rate, 0.6),
        lambda rate: optax.sgd(rate, momentum=0.6, nesterov=True),
    ),
    "adagrad": (optimizers.adagrad, optax.adagrad),
    "adagrad*": (lambda rate: optimizers.adagrad(rate, 0.0, 1e-2), lambda rate: optax.adagrad(rate, 0.0, 1e-2)),
    "rmsprop": (optimizers.rmsprop, optax.rmsprop),
    "rmsprop*": (lambda rate: optimizers.rmsprop(rate, 0.7, 1e-2), lambda rate: optax.rmsprop(rate, 0.7, 1e-2)),
    "adam": (optimizers.adam, optax.adam),
    "adam*": (lambda rate: optimizers.adam(rate, 0.0, 0.7, 1e-2), lambda rate: optax.adam(rate, 0.0, 0.7, 1e-2)),
    "adamw": (optimizers.adamw, lambda rate: optax.adamw(rate, mask=MASK)),
    "adamw*": (
        lambda rate: optimizers.adamw(rate, 0.5, 0.7, 1e-2, 0.3),
        lambda rate: optax.adamw(rate, 0.5, 0.7, 1e-2, weight_decay=0.3, mask=MASK),
    ),
    "lion": (optimizers.lion, lambda rate: optax.lion(rate, mask=MASK)),
    "lion*": (
        lambda rate: optimizers.lion(rate, 0.5, 0.7, 0.3),
        lambda rate: optax.lion(rate, 0.5, 0.7, weight_decay=0.3, mask=MASK),
    ),
}
NAMED = {name: pair for name, pair in OPTIMIZERS.items() if not name.endswith("*")}

RATES = {"constant": 0.05, "schedule": schedules.warmup(5, schedules.cosine(0.05, 30, final=0.1))}


def is_shape(node):
    return isinstance(node, tuple) and all(isinstance(size, int) for size in node) and node != ()


def tree_of(make):
    """The tree of PARAMS with make(shape) at every leaf."""
    return jax.tree.map(make, PARAMS, is_leaf=is_shape)


def drawn(rng, scale=1.0):
    return tree_of(lambda shape: jnp.asarray(scale * rng.standard_normal(shape)))


def run(optimizer, params, grads):
    """(updates, params) after every step."""
    opt_state, steps = optimizer.init(params), []
    for g in grads:
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optimizers.apply_updates(params, updates)
        steps.append((updates, params))
    return steps


def run_optax(optimizer, params, grads):
    """The same by optax alone, whose arithmetic mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        opt_state, steps = optimizer.init(params), []
        for g in grads:
            updates, opt_state = optimizer.update(g, opt_state, params)
            params = optax.apply_updates(params, updates)
            steps.append((updates, params))
    return steps


def assert_close(got, want):
    """To 1e-12. The absolute part covers a parameter that crosses zero, where terms near 1 cancel."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), got, want)


# ---------------------------------------------------------------- against optax


def test_the_mask_given_to_optax_is_ours():
    assert named(tree_of(jnp.zeros), WEIGHTS) == MASK


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_agrees_with_optax_step_for_step(name, rate):
    rng = np.random.default_rng(1)
    params, grads = drawn(rng), [drawn(rng, scale=1 + t % 3) for t in range(50)]
    ours, theirs = (make(RATES[rate]) for make in OPTIMIZERS[name])
    assert_close(run(ours, params, grads), run_optax(theirs, params, grads))


def test_a_chain_agrees_with_optax():
    rng = np.random.default_rng(2)
    params, grads = drawn(rng), [drawn(rng, scale=0.5 + t % 2) for t in range(10)]
    norms = [optax.tree.norm(g) for g in grads]
    assert min(norms) < 5 < max(norms)  # so that some are clipped, and some are not
    ours = optimizers.chain(optimizers.clip_by_global_norm(5.0), optimizers.adamw(0.05, weight_decay=0.3))
    theirs = optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(0.05, weight_decay=0.3, mask=MASK))
    assert_close(run(ours, params, grads), run_optax(theirs, params, grads))


def test_optax_fits_in_our_chain_and_we_in_optaxs():
    rng = np.random.default_rng(3)
    params, grads = drawn(rng), [drawn(rng) for _ in range(5)]
    want = run(optimizers.nesterov(0.05, 0.8), params, grads)
    optax_inside = optimizers.chain(optax.trace(0.8, nesterov=True), optimizers.sgd(0.05))
    ours_inside = optax.chain(optimizers.trace(0.8, nesterov=True), optax.scale(-0.05))
    assert_close(run(optax_inside, params, grads), want)
    assert_close(run_optax(ours_inside, params, grads), want)


def test_a_chain_refuses_the_state_of_another():
    params = tree_of(jnp.zeros)
    with pytest.raises(ValueError, match="zip"):
        optimizers.adamw(0.1).update(params, optimizers.adam(0.1).init(params), params)


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("make", "want"),
    [
        # v₁ = 4, v₂ = 2 + ½·4 = 4; the update is −¼v
        (optimizers.momentum, [-1.0, -1.0]),
        # the same v; the update is −¼(g + ½v)
        (optimizers.nesterov, [-1.5, -1.0]),
    ],
)
def test_momentum_by_hand(make, want):
    steps = run(make(0.25, momentum=0.5), {"w": jnp.asarray(10.0)}, [{"w": jnp.asarray(g)} for g in (4.0, 2.0)])
    assert [float(updates["w"]) for updates, _ in steps] == want
    assert float(steps[-1][1]["w"]) == 10 + sum(want)


def test_a_schedule_counts_updates_from_zero():
    steps = run(optimizers.sgd(schedules.step(1.0, 2, 0.5)), {"w": jnp.asarray(0.0)}, [{"w": jnp.asarray(1.0)}] * 5)
    assert [float(updates["w"]) for updates, _ in steps] == [-1, -1, -0.5, -0.5, -0.25]


# ---------------------------------------------------------------- trees, dtypes, buffers


@pytest.mark.parametrize("name", NAMED)
def test_dtypes_and_tree_are_kept(name):
    """Updates keep the dtypes of the gradients; the state keeps its own: int32, or float32 and wider."""
    optimizer = optimizers.chain(optimizers.clip_by_global_norm(1.0), NAMED[name][0](RATES["schedule"]))
    params = {
        "half": {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3, jnp.bfloat16)},
        "none": {},
        "single": {"w": jnp.ones((3, 5), jnp.float32)},
        "double": {"w": jnp.ones((5, 7), jnp.float64)},
        "mixed": {"w": jnp.ones(2, jnp.float32)},
    }
    grads = {**params, "mixed": {"w": jnp.ones(2, jnp.bfloat16)}}  # a compute dtype below that of the parameter
    before = jax.eval_shape(optimizer.init, params)
    updates, after = jax.eval_shape(optimizer.update, grads, before, params)
    assert after == before
    assert updates == jax.eval_shape(lambda g: g, grads)
    assert jax.eval_shape(optimizers.apply_updates, params, updates) == jax.eval_shape(lambda p: p, params)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(after)} <= {"int32", "float32", "float64"}
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((updates, after)))


@pytest.mark.parametrize("name", NAMED)
def test_a_network_without_parameters(name):
    optimizer = optimizers.chain(optimizers.clip_by_global_norm(1.0), NAMED[name][0](0.1))
    params = ({}, ({}, {}))
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert optimizers.apply_updates(params, updates) == params


@pytest.mark.parametrize("name", NAMED)
def test_compiles_once_and_buffers_may_be_donated(name):
    """Donating a shared buffer is an error; donating an unused one is a warning, and warnings are errors."""
    optimizer = NAMED[name][0](RATES["schedule"])
    rng = np.random.default_rng(4)
    params, grads = drawn(rng), [drawn(rng) for _ in range(3)]
    want = run(optimizer, params, grads)[-1][1]

    def step(params, opt_state, g):
        updates, opt_state = optimizer.update(g, opt_state, params)
        return optimizers.apply_updates(params, updates), opt_state

    step = jax.jit(step, donate_argnums=(0, 1))
    opt_state = optimizer.init(params)
    for g in grads:
        old = jax.tree.leaves((params, opt_state))
        assert len({leaf.unsafe_buffer_pointer() for leaf in old}) == len(old)
        params, opt_state = step(params, opt_state, g)
        assert all(leaf.is_deleted() for leaf in old)
    assert step._cache_size() == 1
    assert_close(params, want)


@pytest.mark.parametrize("make_state", [optimizers.adamw, optimizers.adagrad, optimizers.momentum])
def test_an_eager_update_makes_buffers_of_its_own(make_state):
    optimizer, params = make_state(0.1), drawn(np.random.default_rng(5))
    _, opt_state = optimizer.update(params, optimizer.init(params), params)  # the gradient is params itself
    leaves = jax.tree.leaves((params, opt_state))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_accumulators_are_sharded_as_their_parameters():
    sharding = NamedSharding(jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,)), PartitionSpec("data"))
    params = {"w": jax.device_put(jnp.ones((8, 3), jnp.bfloat16), sharding)}
    state, _ = optimizers.adam(0.1).init(params)
    assert state.mu["w"].sharding == state.nu["w"].sharding == sharding


# ---------------------------------------------------------------- numerics


@pytest.mark.parametrize(("b", "count"), [(0.999, 1), (0.999, 1_000_000), (0.999999, 1_000_000)])
@pytest.mark.parametrize("moment", ["mu", "nu"])
def test_bias_correction_is_accurate_in_float32(b, count, moment):
    """Under a constant gradient 1 the corrected averages are 1, and so is Adam's direction, at every count.

    The other coefficient is 0, so that each correction is seen alone. The state is what count − 1 steps leave.
    """
    before = -math.expm1((count - 1) * math.log(b))
    b1, b2 = (b, 0.0) if moment == "mu" else (0.0, b)
    with jax.enable_x64(False):
        one = {"w": jnp.ones(3)}
        state = optimizers.AdamState(
            jnp.asarray(count - 1, jnp.int32),
            {"w": jnp.full(3, before if moment == "mu" else 1.0)},
            {"w": jnp.full(3, before if moment == "nu" else 1.0)},
        )
        direction, after = optimizers.scale_by_adam(b1, b2, eps=1e-30).update(one, state, one)
        assert direction["w"].dtype == jnp.float32
        assert int(after.count) == count
        np.testing.assert_allclose(direction["w"], 1, rtol=5e-7)


def test_the_moments_of_a_bfloat16_leaf_forget():
    """In bfloat16 itself 0.999 is 1, and ν would never change again."""
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    optimizer = optimizers.scale_by_adam()
    _, state = optimizer.update(params, optimizer.init(params), params)
    for _ in range(50):
        updates, state = optimizer.update({"w": jnp.zeros(3, jnp.bfloat16)}, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(state.nu["w"], 0.001 * 0.999**50, rtol=1e-5)


ACCUMULATING = ["scale_by_rss", "scale_by_rms", "scale_by_adam", "scale_by_lion"]


@pytest.mark.parametrize("make", [lambda: optimizers.trace(0.9), *(getattr(optimizers, name) for name in ACCUMULATING)])
def test_a_bfloat16_gradient_accumulates_in_the_dtype_of_its_float32_parameter(make):
    """At every step the state equals the one from the same gradient in float32."""
    params = {"w": jnp.ones((3, 5), jnp.float32)}
    optimizer, rng = make(), np.random.default_rng(6)
    low = high = optimizer.init(params)
    for _ in range(3):
        grads = {"w": jnp.asarray(rng.standard_normal((3, 5)), jnp.bfloat16)}
        _, low = optimizer.update(grads, low, params)
        _, high = optimizer.update(jax.tree.map(lambda g: g.astype(jnp.float32), grads), high, params)
    jax.tree.map(np.testing.assert_array_equal, low, high)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_rounds_a_bfloat16_direction_once(nesterov):
    """g = 1 three times: v = 1 + 0.9 + 0.81, and Nesterov's direction is 1 + 0.9 v."""
    optimizer, ones = optimizers.trace(0.9, nesterov), {"w": jnp.ones(3, jnp.bfloat16)}
    state = optimizer.init({"w": jnp.ones(3, jnp.float32)})
    for _ in range(3):
        updates, state = optimizer.update(ones, state, None)
    np.testing.assert_allclose(state.trace["w"], 2.71, rtol=1e-6)
    np.testing.assert_array_equal(updates["w"], jnp.full(3, 1 + 0.9 * 2.71 if nesterov else 2.71, jnp.bfloat16))


def test_updates_are_added_in_the_dtype_of_params():
    params, updates = {"w": jnp.ones(3, jnp.float32)}, {"w": jnp.full(3, 2**-12, jnp.bfloat16)}
    np.testing.assert_array_equal(optimizers.apply_updates(params, updates)["w"], np.float32(1 + 2**-12))


@pytest.mark.parametrize("name", NAMED)
def test_a_zero_gradient_is_a_zero_update(name):
    zeros = tree_of(jnp.zeros)
    for updates, _ in run(NAMED[name][0](0.1), zeros, [zeros] * 2):
        assert all(bool((leaf == 0).all()) for leaf in jax.tree.leaves(updates))


# ---------------------------------------------------------------- weight decay


@pytest.mark.parametrize("make", [optimizers.adamw, optimizers.lion])
def test_decay_touches_the_named_leaves_alone(make):
    """A bias stacked over blocks has rank 2, and a weight may have rank 1."""
    shapes = {"w": (5,), "b": (7, 2), "table": (3, 5), "gamma": (7, 2), "mean": (5,)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for names in (WEIGHTS, ("b",)):
        optimizer = make(0.5, weight_decay=0.25, **({} if names == WEIGHTS else {"names": names}))
        updates, _ = optimizer.update(zeros, optimizer.init(params), params)
        for name, update in updates.items():
            np.testing.assert_array_equal(update, -0.125 if name in names else 0.0, err_msg=name)


# ---------------------------------------------------------------- clipping


@settings(deadline=None, max_examples=50)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), max_norm=st.floats(1e-3, 1e6))
def test_the_law_of_clipping(data, dtype, max_norm):
    """The norm becomes min(before, max_norm), the direction stays, and a short gradient is unchanged."""
    elements = st.floats(-1e6, 1e6, width=8 * np.dtype(dtype).itemsize, allow_subnormal=False)
    g = {name: data.draw(hnp.arrays(dtype, shape, elements=elements)) for name, shape in (("w", (3, 5)), ("b", 5))}
    clipped, _ = optimizers.clip_by_global_norm(max_norm).update(jax.tree.map(jnp.asarray, g), (), None)
    flat, flat_clipped = (np.concatenate([t["w"].ravel(), t["b"]]).astype(float) for t in (g, clipped))
    norm, eps = np.linalg.norm(flat), 4 * np.finfo(dtype).eps
    assert np.linalg.norm(flat_clipped) <= max_norm * (1 + eps)
    if norm <= max_norm * (1 - eps):
        np.testing.assert_array_equal(flat_clipped, flat)
    else:
        np.testing.assert_allclose(flat_clipped, flat * (max_norm / norm), rtol=eps, atol=1e-30)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_clipping_at_the_edges(dtype):
    def clip(w):
        return optimizers.clip_by_global_norm(2.0).update({"w": w}, (), None)[0]["w"]

    for untouched in (jnp.zeros(4, dtype), jnp.full(4, 1.0, dtype), jnp.full(4, 1e-30, dtype)):
        np.testing.assert_array_equal(clip(untouched), untouched)
    # ‖g‖ = 600 is a float16, but 300² is not: it takes a wider sum.
    np.testing.assert_allclose(clip(jnp.full(4, 300.0, dtype)).astype(float), 1.0, rtol=float(jnp.finfo(dtype).eps))


def test_clipping_leaves_nan_where_it_arose():
    grads = {"w": jnp.full(3, 5.0), "b": jnp.asarray([math.nan, 1.0])}
    clipped, _ = optimizers.clip_by_global_norm(1.0).update(grads, (), None)
    np.testing.assert_array_equal(clipped["w"], grads["w"])
    np.testing.assert_array_equal(clipped["b"], grads["b"])


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("name", NAMED)
def test_refuses_a_negative_learning_rate(name):
    with pytest.raises(ValueError, match=r"learning_rate must lie in \[0, ∞\); got -0.1"):
        NAMED[name][0](-0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.momentum(0.1, 1.0), r"momentum must lie in \[0, 1\); got 1.0"),
        (lambda: optimizers.nesterov(0.1, -0.1), "momentum"),
        (lambda: optimizers.adagrad(0.1, -0.1), "initial_accumulator_value"),
        (lambda: optimizers.adagrad(0.1, eps=0.0), r"eps must lie in \(0, ∞\); got 0.0"),
        (lambda: optimizers.rmsprop(0.1, 1.0), "decay"),
        (lambda: optimizers.rmsprop(0.1, eps=0.0), "eps"),
        (lambda: optimizers.adam(0.1, b1=1.0), "b1"),
        (lambda: optimizers.adam(0.1, b2=-0.1), "b2"),
        (lambda: optimizers.adam(0.1, eps=-1e-8), "eps"),
        (lambda: optimizers.adam(math.nan), "learning_rate"),
        (lambda: optimizers.adamw(0.1, b2=1.0), "b2"),
        (lambda: optimizers.adamw(0.1, weight_decay=-0.1), "weight_decay"),
        (lambda: optimizers.lion(0.1, b1=1.0), "b1"),
        (lambda: optimizers.lion(0.1, b2=1.0), "b2"),
        (lambda: optimizers.lion(0.1, weight_decay=-0.1), "weight_decay"),
        (lambda: optimizers.clip_by_global_norm(0.0), r"max_norm must lie in \(0, ∞\); got 0.0"),
    ],
)
def test_refuses_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
