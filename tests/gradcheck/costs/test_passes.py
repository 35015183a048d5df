"""The programs that are counted compute what the derivation and autodiff do, and keep what they are said to keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import ops
from funcnet.gradcheck import InputError
from funcnet.gradcheck.costs.count import bytes_of
from funcnet.gradcheck.costs.passes import by_autodiff, by_hand
from funcnet.gradcheck.trial.targets import as_subject
from funcnet.types import Rule


def normal(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def passes_of(rule, *args, argnums=None):
    subject = as_subject(rule, inputs=args).taking(len(args))
    hand = by_hand(subject, args, range(len(args)) if argnums is None else argnums)
    return [hand, *(by_autodiff(subject.primal, args, hand.places, checkpoint) for checkpoint in (False, True))]


def own_bytes(passes):
    return sum(bytes_of(passes.fwd.types[n]) for n in passes.own)


N, C = 7, 5
CASES = {
    "dense": (ops.dense, (normal(N, C), normal(C, 3), normal(3))),
    "layer_norm": (ops.layer_norm(), (normal(N, C), normal(C), normal(C))),
    "blocks": (ops.flash_attention(causal=True, block=2), (normal(2, N, C), normal(2, N, C), normal(2, N, C))),
    "labels": (ops.sparse_softmax_cross_entropy(), (normal(N, C), jnp.arange(N) % C)),
    "dropout": (ops.dropout(0.3), (normal(N, C), jax.random.key(0))),
}


@pytest.mark.parametrize("name", CASES)
def test_all_three_compute_the_same(name):
    rule, args = CASES[name]
    found = [each.run(args, each.dys) for each in passes_of(rule, *args)]
    dy = passes_of(rule, *args)[0].dys[0]
    y, residuals = rule.fwd(*args)
    expected = [y], [d for d in rule.bwd(residuals, dy) if d is not None]
    for ys, cotangents in found:
        for got, wanted in zip((*ys, *cotangents), (*expected[0], *expected[1]), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-13)


def test_residuals_are_what_is_kept_beside_arguments_and_results():
    hand, autodiff, checkpoint = passes_of(CASES["layer_norm"][0], *CASES["layer_norm"][1])
    assert own_bytes(hand) == 8 * 2 * N  # mean and rstd; x is there anyway
    assert own_bytes(autodiff) > own_bytes(hand)
    assert own_bytes(checkpoint) == 0
    (softmax, *_) = passes_of(ops.softmax, normal(N, C))
    assert len(softmax.residuals) == 1  # y itself
    assert own_bytes(softmax) == 0


def test_what_the_backward_does_not_read_is_not_kept():
    def fwd(x):
        return jnp.sin(x), (x, jnp.exp(x), jnp.cos(x))

    hand, *_ = passes_of(Rule(fwd, lambda residuals, dy: (dy * residuals[2],)), normal(N, C))
    assert [step.primitive for step in hand.fwd.steps] == ["sin", "cos"]
    assert [aval.shape for aval in hand.unread] == [(N, C)]  # x is there anyway


def test_cotangents_that_are_not_asked_for_are_not_computed():
    for each in passes_of(ops.dense, *CASES["dense"][1], argnums=[1]):
        assert len(each.bwd.outputs) == 1
        assert each.places == (1,)
        assert len(each.residuals) == 1


@pytest.mark.parametrize(
    ("bwd", "said"),
    [
        (lambda residuals, dy: dy, "does not return a tuple of 1"),
        (lambda residuals, dy: ((dy, dy),), "returns trees other than its arguments"),
        (lambda residuals, dy: (np.asarray(dy),), "cannot be traced.*TracerArrayConversionError"),
        (lambda residuals, dy: (dy.no_such_thing,), "cannot be traced.*AttributeError"),
    ],
)
def test_a_derivation_that_cannot_be_counted_is_one_line(bwd, said):
    with pytest.raises(InputError, match=said):
        passes_of(Rule(lambda x: (x, ()), bwd), normal(N))
