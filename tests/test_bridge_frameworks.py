"""Our attention and loss in modules of Flax and Equinox, beside their own, and trained by optax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.examples.blocks import FRAMEWORKS, Sizes
from funcnet import bridge, ops

TOOLS = {
    "Flax Linen": (jax.jit, jax.value_and_grad),
    "Flax NNX": (nnx.jit, nnx.value_and_grad),
    "Equinox": (eqx.filter_jit, eqx.filter_value_and_grad),
}


@pytest.fixture(autouse=True)
def as_their_users_have_it():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def optax_loss(predictions, labels):
    features, table = predictions
    return optax.softmax_cross_entropy_with_integer_labels(features @ table.T, labels).mean()


def made(framework, by_hand):
    """A model in float64, its loss, tokens and labels."""
    model, forward = FRAMEWORKS[framework](Sizes(11, 12, 3, by_hand, block=2), jax.random.key(0))
    wide = jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, model)
    loss = bridge.function(ops.linear_softmax_cross_entropy(chunk=4)) if by_hand else optax_loss
    tokens = np.random.default_rng(1).integers(11, size=(3, 6))
    return (
        wide,
        lambda model, tokens, labels: loss(forward(model, tokens), labels),
        jnp.asarray(tokens[:, :-1]),
        jnp.asarray(tokens[:, 1:]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_gradients_of_a_gpt_block_are_those_with_their_own_attention_and_loss(framework):
    def gradient(by_hand):
        model, loss, *batch = made(framework, by_hand)
        jit, value_and_grad = TOOLS[framework]
        value, gradients = jit(value_and_grad(loss))(model, *batch)
        return np.concatenate([jnp.ravel(leaf) for leaf in (value, *jax.tree.leaves(gradients))])

    got, expected = gradient(by_hand=True), gradient(by_hand=False)
    assert got.dtype == np.float64
    assert got.size > 800
    np.testing.assert_array_less(abs(got - expected), 1e-10 * abs(expected).max())


def test_a_training_step_in_linen():
    model, loss, *batch = made("Flax Linen", by_hand=True)
    optimizer = optax.adamw(0.03)

    @jax.jit
    def step(model, state):
        value, gradients = jax.value_and_grad(loss)(model, *batch)
        updates, state = optimizer.update(gradients, state, model)
        return optax.apply_updates(model, updates), state, value

    state, losses = optimizer.init(model), []
    for _ in range(4):
        model, state, value = step(model, state)
        losses.append(value)
    assert all(np.diff(losses) < 0)


def test_a_training_step_in_nnx():
    model, loss, *batch = made("Flax NNX", by_hand=True)
    optimizer = nnx.Optimizer(model, optax.adamw(0.03), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(loss)(model, *batch)
        optimizer.update(model, gradients)
        return value

    assert all(np.diff([step(model, optimizer) for _ in range(4)]) < 0)


def test_a_training_step_in_equinox():
    model, loss, *batch = made("Equinox", by_hand=True)
    optimizer = optax.adamw(0.03)

    @eqx.filter_jit
    def step(model, state):
        value, gradients = eqx.filter_value_and_grad(loss)(model, *batch)
        updates, state = optimizer.update(gradients, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state, value

    state, losses = optimizer.init(eqx.filter(model, eqx.is_array)), []
    for _ in range(4):
        model, state, value = step(model, state)
        losses.append(value)
    assert all(np.diff(losses) < 0)
