"""Mixed precision: what is computed in which dtype, and what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import batch_norm, computed_in, dense, dropout, embedding, ops, optimizers, relu, serial, training
from tests.cases import normal
from tests.trees import assert_close

NET = serial(dense(13), batch_norm(), dropout(0.2), relu(), dense(5))
X, LABELS = normal(0, 40, 7).astype(np.float32), np.arange(40) % 5


def parameters(net=NET):
    params, _ = net.init(jax.random.key(0), (7,))
    return jax.tree.map(lambda p: p.astype(jnp.float32), params)


def test_products_are_in_the_one_dtype_and_everything_that_lasts_in_the_other():
    net, params = computed_in(NET, jnp.bfloat16), parameters()
    gradient = training.value_and_grad(net, ops.sparse_softmax_cross_entropy())
    program = str(jax.make_jaxpr(gradient)(params, X, LABELS, jax.random.key(1)))
    products = [line.split(":")[1] for line in program.splitlines() if " dot_general[" in line]
    assert len(products) == 6  # two layers, each y, dw and dx
    assert all(product.startswith("bf16") for product in products)
    loss, grads = gradient(params, X, LABELS, jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, grads))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_gradients_are_those_of_float32_as_far_as_the_dtype_goes(dtype):
    params, loss, key = parameters(), ops.sparse_softmax_cross_entropy(), jax.random.key(1)
    exact = training.value_and_grad(NET, loss)(params, X, LABELS, key)
    narrow = training.value_and_grad(computed_in(NET, dtype), loss)(params, X, LABELS, key)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(exact[1]))
    apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), exact[1], narrow[1])))
    assert 1e-5 * scale < apart < 30 * float(jnp.finfo(dtype).eps) * scale


def test_in_the_parameters_own_dtype_it_is_the_layer_itself():
    params, x, key, dy = parameters(), X, jax.random.key(1), normal(2, 40, 5).astype(np.float32)
    results = []
    for net in (NET, computed_in(NET, jnp.float32)):
        y, residuals = net.fwd(params, x, key)
        results.append((y, net.bwd(residuals, dy)))
    assert jax.tree.all(jax.tree.map(np.array_equal, *results))


def test_batch_norm_in_it_is_calibrated():
    params, net = parameters(), computed_in(NET, jnp.bfloat16)
    found = training.calibrate(net, params, X.reshape(4, 10, 7), jax.random.key(0))
    expected = training.calibrate(NET, params, X.reshape(4, 10, 7), jax.random.key(0))
    assert_close(found[1]["population"].mean, expected[1]["population"].mean, 0.02, 0.02)
    assert not np.allclose(found[1]["population"].mean, params[1]["population"].mean)


def test_tokens_stay_integers():
    net = computed_in(serial(embedding(11, 6), dense(3)), jnp.bfloat16)
    params, shape = net.init(jax.random.key(0), (4,))
    y, residuals = net.fwd(params, np.arange(8).reshape(2, 4))
    dparams, dx = net.bwd(residuals, jnp.ones_like(y))
    assert dx is None
    assert (shape, y.dtype) == ((4, 3), np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(dparams)} == {leaf.dtype for leaf in jax.tree.leaves(params)}
    assert "computed_in(bfloat16)" in funcnet.summary(net, (4,))


def test_it_trains():
    net = computed_in(funcnet.models.mlp((32,), 5), jnp.bfloat16)
    step = training.train_step(net, ops.sparse_softmax_cross_entropy(), optimizers.adam(0.01))
    state = training.init_state(parameters(net), optimizers.adam(0.01), jax.random.key(0))
    ends = [losses.mean() for _, losses in training.train_epochs(step, state, (X, LABELS), 10, epochs=60)]
    assert ends[-1] < 0.25 * ends[0]


def test_what_is_no_dtype_of_floats():
    with pytest.raises(TypeError, match=r"computed_in expects a dtype of floats, such as jnp.bfloat16; got .*int32"):
        computed_in(NET, jnp.int32)
