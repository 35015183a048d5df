"""A step: against NumPy, against jax.value_and_grad, sharded, lowered, and without autodiff."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import ops, optimizers
from funcnet.training import (
    accumulated,
    init_state,
    train_step,
    value_and_grad,
)
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close

NET = funcnet.models.mlp((13, 11), 5)
LOSS = ops.sparse_softmax_cross_entropy()
X, LABELS = normal(0, 40, 7), np.arange(40) % 5
KEY = jax.random.key(3)


def parameters(net=NET):
    return net.init(jax.random.key(0), (7,))[0]


@pytest.mark.parametrize("penalty", [None, ops.l2(0.1)], ids=["plain", "l2"])
def test_value_and_grad_returns_what_autodiff_would(penalty):
    net = funcnet.models.mlp((13,), 5, dropout_rate=0.3)
    params = parameters(net)

    def value(params):
        loss = LOSS.fwd(net.fwd(params, X, KEY)[0], LABELS)[0]
        return loss if penalty is None else loss + penalty.fwd(params)[0]

    assert_close(
        value_and_grad(net, LOSS, penalty)(params, X, LABELS, KEY), jax.value_and_grad(value)(params), 1e-10, 1e-13
    )


def numpy_losses(params, steps, rate):
    """Ten steps of gradient descent on a relu network, in NumPy and by nothing of funcnet's."""
    (w1, b1), (w2, b2), (w3, b3) = ([np.array(p["w"]), np.array(p["b"])] for p in params if p)
    losses = []
    for _ in range(steps):
        z1 = X @ w1 + b1
        a1 = np.maximum(z1, 0)
        z2 = a1 @ w2 + b2
        a2 = np.maximum(z2, 0)
        z3 = a2 @ w3 + b3
        p = np.exp(z3) / np.exp(z3).sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(40), LABELS]).mean())
        d3 = p.copy()
        d3[np.arange(40), LABELS] -= 1
        d3 /= 40
        d2 = (d3 @ w3.T) * (z2 > 0)
        d1 = (d2 @ w2.T) * (z1 > 0)
        w3, b3 = w3 - rate * a2.T @ d3, b3 - rate * d3.sum(axis=0)
        w2, b2 = w2 - rate * a1.T @ d2, b2 - rate * d2.sum(axis=0)
        w1, b1 = w1 - rate * X.T @ d1, b1 - rate * d1.sum(axis=0)
    return losses


def test_ten_steps_equal_those_of_numpy():
    optimizer = optimizers.sgd(0.5)
    state, losses = init_state(parameters(), optimizer, KEY), []
    step = jax.jit(train_step(NET, LOSS, optimizer))
    for _ in range(10):
        state, value = step(state, (X, LABELS))
        losses.append(float(value))
    np.testing.assert_allclose(losses, numpy_losses(parameters(), 10, 0.5), rtol=1e-12)
    assert losses[-1] < 0.8 * losses[0]


def test_every_step_drops_by_a_key_of_its_own():
    """At a learning rate of 0 and on the same batch, nothing but the mask can change the loss."""
    net, optimizer = funcnet.models.mlp((13,), 5, dropout_rate=0.5), optimizers.sgd(0.0)
    step = jax.jit(train_step(net, LOSS, optimizer))
    first, value = step(init_state(parameters(net), optimizer, KEY), (X, LABELS))
    _, second_value = step(first, (X, LABELS))
    assert float(value) != float(second_value)


def test_step_lowers_for_cpu_cuda_and_tpu():
    optimizer = optimizers.adamw(0.01)
    step = jax.jit(train_step(NET, LOSS, optimizer))
    arguments = init_state(parameters(), optimizer, KEY), (X, LABELS)
    exported = jax.export.export(step, platforms=["cpu", "cuda", "tpu"])(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    (state, value), (expected, expected_value) = exported.call(*arguments), step(*arguments)
    assert_close((state.params, value), (expected.params, expected_value), 1e-12, 1e-14)


def test_sharded_over_devices_it_is_the_same_step():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, everywhere = (jax.NamedSharding(mesh, spec) for spec in (jax.P("data"), jax.P()))
    optimizer = optimizers.adam(0.01)
    step = jax.jit(train_step(NET, LOSS, optimizer))
    one = many = init_state(parameters(), optimizer, KEY)
    many = jax.device_put(many, everywhere)
    x, labels = jax.device_put((X, LABELS), rows)
    for _ in range(3):
        one, value = step(one, (X, LABELS))
        many, sharded_value = step(many, (x, labels))
    assert len(sharded_value.sharding.device_set) == 4
    assert float(value) == pytest.approx(float(sharded_value), rel=1e-13)
    assert_close(many.params, one.params, 1e-11, 1e-13)


def test_training_needs_no_autodiff():
    """In a process whose table of differentiation rules is empty; see the script."""
    script = Path(__file__).parents[1] / "without_autodiff.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=script.parent.parent)
    assert done.returncode == 0, done.stderr
    assert "a rule that calls jax.grad raises" in done.stdout
    assert "trained" in done.stdout


def test_gradients_have_the_dtype_of_their_parameters():
    """Inputs wider than the parameters promote all that comes after them."""
    with jax.numpy_dtype_promotion("standard"):
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), parameters())
        _, grads = value_and_grad(NET, LOSS)(low, X.astype(np.float32), LABELS, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_accumulated_gradient_is_that_of_the_whole_batch(reduction):
    loss, params = ops.sparse_softmax_cross_entropy(reduction=reduction), parameters()
    whole = value_and_grad(NET, loss)(params, X, LABELS, None)
    parts = accumulated(value_and_grad(NET, loss), 5)(params, X, LABELS, None)
    scale = 1 if reduction == "mean" else 5  # of sums it is the mean too
    assert_close(jax.tree.map(lambda a: scale * a, parts), whole, 1e-12, 1e-14)
    assert_close(accumulated(value_and_grad(NET, loss), 1)(params, X, LABELS, KEY), whole, 1e-12, 1e-14)


def test_each_part_of_an_accumulated_gradient_has_dropout_of_its_own():
    def gradient(params, x, targets, key):
        return jax.random.uniform(key), {"w": params["w"] * x.sum() * targets.sum()}

    value, grads = accumulated(gradient, 2)(
        {"w": jnp.float32(1)}, jnp.ones(4, jnp.float32), jnp.ones(4, jnp.float32), KEY
    )
    one, two = (jax.random.uniform(jax.random.fold_in(KEY, n)) for n in range(2))
    assert_close(value, (one + two) / 2, 1e-7, 0)
    assert (grads["w"], grads["w"].dtype) == (4, np.float32)


def test_parts_that_do_not_divide_the_batch():
    gradient = accumulated(value_and_grad(NET, LOSS), 3)
    with pytest.raises(ShapeError, match="3 equal parts of a batch of 40 examples"):
        gradient(parameters(), X, LABELS, None)
    with pytest.raises(ValueError, match="at least one part; got 0"):
        accumulated(gradient, 0)
