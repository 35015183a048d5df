"""What a backward computes again is found, with what it takes and what keeping it would take; nothing else is."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet import ops
from funcnet.gradcheck.costs.passes import by_autodiff, by_hand
from funcnet.gradcheck.costs.twice import computed_twice
from funcnet.gradcheck.trial.targets import as_subject

N, I, O = 7, 5, 3  # noqa: E741


def normal(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def hidden(again):
    """y = tanh(x w) v. The backward makes tanh(x w) anew if ``again``, from operands in another order."""

    def fwd(x, w, v):
        h = jnp.tanh(x @ w + 1.0)
        return h @ v, (x, w, v) if again else (x, w, v, h)

    def bwd(residuals, dy):
        x, w, v, *kept = residuals
        h = kept[0] if kept else jnp.tanh(1.0 + x @ w)
        da = dy @ v.T * (1 - h * h)
        return da @ w.T, x.T @ da, h.T @ dy

    return fwd, bwd


def twice(rule, *args):
    subject = as_subject(rule, inputs=args).taking(len(args))
    hand = by_hand(subject, args, range(len(args)))
    return [computed_twice(hand), computed_twice(by_autodiff(subject.primal, args, hand.places, True))]


ARGS = normal(N, I), normal(I, O), normal(O, 2)


def test_a_product_and_its_tanh_made_again():
    found, by_checkpoint = twice(hidden(True), *ARGS)
    assert found.work.flops == by_checkpoint.work.flops == 2 * N * I * O
    assert found.work.operations == 2 * N * O
    assert found.bytes == 8 * N * O  # the tanh; what it is made of is read by it alone
    assert {line.text for line in found.lines} == {"h = kept[0] if kept else jnp.tanh(1.0 + x @ w)"}


def test_what_is_kept_is_not_made_again():
    found, _ = twice(hidden(False), *ARGS)
    assert not found.work.products
    assert not found.work.operations
    assert found.bytes == 0
    assert not found.lines


@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_the_same_operation_on_other_values_is_no_repetition(factor):
    def bwd(x, dy):
        return (dy * jnp.cos(jnp.sin(factor * x)),)

    found, _ = twice((lambda x: (jnp.sin(2.0 * x), x), bwd), normal(N))
    assert found.work.transcendental == (N if factor == 2 else 0)


def test_rows_of_a_loop_are_made_again_in_another_loop():
    """The scores of a block, in the scans of forward and backward, which carry different things."""
    b, t, d, block = 2, 6, 5, 2
    found, _ = twice(ops.flash_attention(block=block), *(normal(b, t, d) for _ in range(3)))
    assert found.work.flops == 2 * b * t * t * d


def test_what_a_turn_carries_is_not_made_again():
    def fwd(x):
        last, _ = lax.scan(lambda c, row: (jnp.sin(c) + row, None), x[0], x)
        return last, x

    def bwd(x, dy):
        last, _ = lax.scan(lambda c, row: (jnp.sin(c) * row, None), dy, x)
        return (jnp.broadcast_to(last, x.shape),)

    found, _ = twice((fwd, bwd), normal(4, N))
    assert found.work.transcendental == 0
