"""Counts of products and operations beside formulas that are known, and beside what arithmetic itself shows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from funcnet import ops
from funcnet.gradcheck.costs.count import Count, count
from funcnet.gradcheck.costs.passes import by_autodiff, by_hand
from funcnet.gradcheck.engine.jaxprs import CALLS, CUSTOM, LOOPS, flattened
from funcnet.gradcheck.trial.targets import as_subject

sizes = st.integers(1, 6)


def counted(f, *args) -> Count:
    return count(flattened(jax.make_jaxpr(f)(*args), CALLS | CUSTOM, LOOPS, file=None))


def ones(*shape):
    return jnp.ones(shape)


def three(rule, *args):
    """By hand, by autodiff and by autodiff of the checkpoint."""
    subject = as_subject(rule, inputs=args).taking(len(args))
    hand = by_hand(subject, args, range(len(args)))
    others = (by_autodiff(subject.primal, args, hand.places, checkpoint) for checkpoint in (False, True))
    return [count(p.fwd) + count(p.bwd) for p in (hand, *others)]


def test_dense_takes_three_products():
    n, i, o = 7, 5, 3
    for found in three(ops.dense, ones(n, i), ones(i, o), ones(o)):
        assert [p.flops for p in found.products] == 3 * [2 * n * i * o]
        assert found.operations == 2 * n * o  # the bias, and the sum that is its cotangent
        assert not found.opaque
        assert not found.endless


def test_attention_takes_six_products_and_its_checkpoint_computes_the_scores_again():
    b, t, s, d, e = 2, 7, 5, 3, 11
    hand, autodiff, checkpoint = three(ops.attention(), ones(b, t, d), ones(b, s, d), ones(b, s, e))
    scores, values = 2 * b * t * s * d, 2 * b * t * s * e
    assert sorted(p.flops for p in hand.products) == sorted(3 * [scores] + 3 * [values])
    assert hand.flops == autodiff.flops
    assert checkpoint.flops == hand.flops + scores
    assert hand.transcendental == b * t * s == checkpoint.transcendental / 2


def test_blocks_compute_each_score_twice():
    b, t, d, block = 2, 7, 5, 2
    hand, *_ = three(ops.flash_attention(block=block), *(ones(b, t, d) for _ in range(3)))
    blocks = -(-t // block)
    assert hand.flops == 7 * 2 * b * t * (blocks * block) * d  # 2 forward, 5 backward: the scores once more


@pytest.mark.slow
@given(sizes, sizes, sizes, sizes, sizes)
def test_a_product_takes_two_operations_for_each_pair(b, n, i, o, turns):
    w = ones(b, i, o)
    once = counted(lambda x: x @ w, ones(b, n, i))
    assert once.flops == 2 * b * n * i * o
    assert once.operations == 0

    def turn(carry, x):
        return jnp.tanh(carry + x @ w), None

    scanned = counted(lambda xs: lax.scan(turn, ones(b, n, o), xs), ones(turns, b, n, i))
    assert scanned.flops == turns * once.flops
    assert scanned.transcendental == turns * b * n * o
    assert scanned.operations == 2 * scanned.transcendental
    assert [p.times for p in scanned.products] == [turns]


@pytest.mark.slow
@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
    st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from([1, 2]),
)  # fmt: skip
def test_a_convolution_takes_the_pairs_that_meet_an_element(n, taps, stride, spread, apart, padding, groups):
    """Of ones: each output is the number of its pairs."""
    if (n - 1) * spread + 1 + sum(padding) < (taps - 1) * apart + 1:
        return  # no output
    x, w = ones(2, groups * 3, n), ones(groups * 5, 3, taps)

    def f(x, w):
        return lax.conv_general_dilated(x, w, (stride,), [padding], (spread,), (apart,), feature_group_count=groups)

    assert counted(f, x, w).flops == 2 * int(f(x, w).sum())


@pytest.mark.parametrize(
    ("f", "operations"),
    [
        (lambda x: x.T.reshape(5, 7)[::2].astype(jnp.bfloat16), 0),
        (lambda x: x - x.mean(axis=-1, keepdims=True), 7 * 5 + 7 + 7 * 5),
        (lambda x: jnp.zeros_like(x).at[jnp.array([1, 1])].add(x[:2]), 2 * 5 + 3 * 2),  # from the end if below 0
        (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "VALID"), 6 * 5 * 2),
        (lambda x: lax.cond(x[0, 0] > 0, lambda: x + x * x, lambda: x), 1 + 2 * 7 * 5),
    ],
)
def test_operations_are_those_of_arithmetic(f, operations):
    assert counted(f, np.ones((7, 5))).operations == operations


def test_one_turn_of_an_endless_loop_is_counted_and_said_so():
    found = counted(lambda x: lax.while_loop(lambda x: x.sum() < 100, lambda x: x @ x, x), ones(3, 3))
    assert found.endless
    assert found.flops == 2 * 27


def test_what_cannot_be_counted_is_named():
    assert counted(jnp.linalg.cholesky, jnp.eye(3)).opaque == ("cholesky",)
