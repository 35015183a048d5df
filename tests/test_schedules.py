"""Schedules agree with optax's if it has the same one, else with their formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcnet import schedules

COUNTS = np.arange(41)

SCHEDULES = {
    "constant": (schedules.constant(0.3), optax.constant_schedule(0.3)),
    "step": (schedules.step(0.3, 7, 0.5), optax.exponential_decay(0.3, 7, 0.5, staircase=True)),
    "exponential": (schedules.exponential(0.3, 7, 0.5), optax.exponential_decay(0.3, 7, 0.5)),
    "inverse_time": (schedules.inverse_time(0.3, 7), lambda t: 0.3 / (1 + t / 7)),
    "cosine": (schedules.cosine(0.3, 25), optax.cosine_decay_schedule(0.3, 25)),
    "cosine, final": (schedules.cosine(0.3, 25, final=0.1), optax.cosine_decay_schedule(0.3, 25, alpha=0.1)),
    "warmup": (schedules.warmup(6, 0.3), optax.linear_schedule(0.0, 0.3, 6)),
    "warmup, exponential": (
        schedules.warmup(6, schedules.exponential(0.3, 7, 0.5)),
        optax.join_schedules([optax.linear_schedule(0.0, 0.3, 6), optax.exponential_decay(0.3, 7, 0.5)], [6]),
    ),
}


@pytest.fixture(params=SCHEDULES)
def pair(request):
    return SCHEDULES[request.param]


def test_agrees_with_the_reference(pair):
    ours, theirs = pair
    got = jax.vmap(ours)(jnp.asarray(COUNTS, jnp.int32))
    with jax.numpy_dtype_promotion("standard"):
        want = [float(theirs(jnp.asarray(t, float))) for t in COUNTS]  # an int32 count makes optax divide in float32
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-17)


def test_is_a_scalar_in_the_default_float_compiled_or_not(pair):
    ours, _ = pair
    for x64, dtype in ((True, jnp.float64), (False, jnp.float32)):
        with jax.enable_x64(x64):
            count = jnp.asarray(9, jnp.int32)
            eager, compiled = ours(count), jax.jit(ours)(count)
        assert eager.shape == compiled.shape == ()
        assert eager.dtype == compiled.dtype == dtype
        np.testing.assert_allclose(eager, compiled, rtol=4 * jnp.finfo(dtype).eps)


def test_takes_an_array_of_counts(pair):
    ours, _ = pair
    counts = jnp.asarray(COUNTS, jnp.int32)
    np.testing.assert_allclose(ours(counts), jnp.stack([ours(t) for t in counts]), rtol=1e-15)


def test_by_hand():
    def at(schedule, *counts):
        return [float(schedule(jnp.asarray(t, jnp.int32))) for t in counts]

    assert at(schedules.step(1.0, 3, 0.5), 0, 2, 3, 5, 6) == [1, 1, 0.5, 0.5, 0.25]
    assert at(schedules.inverse_time(1.0, 4), 0, 4, 12) == [1, 0.5, 0.25]
    assert at(schedules.cosine(1.0, 10, final=0.25), 0, 10, 11, 2**31 - 1) == [1, 0.25, 0.25, 0.25]
    # The ramp ends where `after` begins, and `after` counts from there: its first halving is 2 updates later.
    assert at(schedules.warmup(4, schedules.step(8.0, 2, 0.5)), 0, 1, 3, 4, 5, 6, 8) == [0, 2, 6, 8, 8, 4, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.constant(-0.1), r"learning_rate must lie in \[0, ∞\); got -0.1"),
        (lambda: schedules.constant(math.nan), "learning_rate"),
        (lambda: schedules.constant(math.inf), "learning_rate"),
        (lambda: schedules.step(-0.1, 3, 0.5), "learning_rate"),
        (lambda: schedules.step(0.1, 0, 0.5), r"steps must lie in \[1, ∞\); got 0"),
        (lambda: schedules.step(0.1, 3, 0.0), r"factor must lie in \(0, ∞\); got 0"),
        (lambda: schedules.exponential(-0.1, 3, 0.5), "learning_rate"),
        (lambda: schedules.exponential(0.1, 0, 0.5), "steps"),
        (lambda: schedules.exponential(0.1, 3, -0.5), "factor"),
        (lambda: schedules.inverse_time(-0.1, 3), "learning_rate"),
        (lambda: schedules.inverse_time(0.1, 0), "steps"),
        (lambda: schedules.cosine(-0.1, 3), "learning_rate"),
        (lambda: schedules.cosine(0.1, 0), "steps"),
        (lambda: schedules.cosine(0.1, 3, final=1.1), r"final must lie in \[0, 1\]; got 1.1"),
        (lambda: schedules.warmup(0, 0.1), "steps"),
        (lambda: schedules.warmup(3, -0.1), "learning_rate"),
    ],
)
def test_refuses_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
