"""Calibration against the same statistics in plain NumPy, whatever the layers are combined by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import batch_norm, dense, dropout, parallel, relu, residual, serial
from funcnet.ops.normalization import Population
from tests.cases import normal

KEY = jax.random.key(3)
BATCHES = 2 + 3 * normal(0, 5, 11, 7)  # 5 batches of 11 examples


def random_params(net):
    params, _ = net.init(jax.random.key(0), (7,))
    return jax.tree.map(lambda p: p + 0.3 * normal(1, *p.shape), params)


def population(batches):
    """Ioffe & Szegedy (2015), algorithm 2, steps 10 and 11."""
    m = batches.shape[1]
    return batches.mean(axis=(0, 1)), batches.var(axis=1).mean(axis=0) * m / (m - 1)


def normalised(batches, params):
    mean, var = batches.mean(axis=1, keepdims=True), batches.var(axis=1, keepdims=True)
    return (batches - mean) / np.sqrt(var + 1e-5) * params["gamma"] + params["beta"]


def assert_population(node, batches):
    assert isinstance(node, Population)
    for got, expected in zip(node, population(batches), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_populations_are_those_of_numpy_through_every_combinator():
    """The second normalises what the first gives in training; the branches see the same, the last one its sum."""
    branches = parallel(serial(dense(5), batch_norm()), batch_norm(), merge="concatenate")
    net = serial(batch_norm(), relu(), residual(dense(7)), branches, batch_norm())
    params = random_params(net)
    found = jax.jit(funcnet.calibrate, static_argnums=0)(net, params, BATCHES, KEY)

    plain = jax.tree.map(np.asarray, params)
    assert_population(found[0]["population"], BATCHES)
    y = np.maximum(normalised(BATCHES, plain[0]), 0)
    y = y + y @ plain[2]["w"] + plain[2]["b"]
    left = y @ plain[3][0][0]["w"] + plain[3][0][0]["b"]
    assert_population(found[3][0][1]["population"], left)
    assert_population(found[3][1]["population"], y)
    y = np.concatenate([normalised(left, plain[3][0][1]), normalised(y, plain[3][1])], axis=-1)
    assert_population(found[4]["population"], y)


def test_nothing_else_changes():
    net = serial(dense(5), batch_norm(), dense(3))
    params = random_params(net)
    found = funcnet.calibrate(net, params, BATCHES, KEY)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    changed = jax.tree.map(lambda a, b: not jnp.array_equal(a, b), found, params)
    assert changed[1] == {"gamma": False, "beta": False, "population": Population(True, True)}
    assert not any(jax.tree.leaves((changed[0], changed[2])))
    plain = serial(dense(5), relu())
    params = random_params(plain)
    assert funcnet.calibrate(plain, params, BATCHES, KEY) is params


def test_images_are_averaged_over_their_positions_too():
    net = batch_norm()
    params, _ = net.init(jax.random.key(0), (2, 3, 7))
    images = normal(0, 5, 11, 2, 3, 7)
    found = funcnet.calibrate(net, params, images, KEY)
    assert_population(found["population"], images.reshape(5, 66, 7))


def test_with_dropout_calibrate_the_same_net_without():
    """Dropout widens what it keeps, so that the variance of the population in inference is another."""
    nets = [serial(dropout(rate), batch_norm()) for rate in (0.5, 0.0)]
    params, _ = nets[0].init(jax.random.key(0), (7,))
    batches = 2 + normal(0, 50, 100, 7)
    dropped, whole = (funcnet.calibrate(net, params, batches, KEY)[1]["population"] for net in nets)
    assert_population(whole, batches)
    # of a kept value twice x, or 0: E[y²] = 2 E[x²], so the variance is that of x and E[x²] more
    assert jnp.allclose(dropped.var, whole.var + (batches**2).mean(axis=(0, 1)), rtol=0.1)
    assert jnp.allclose(dropped.mean, whole.mean, rtol=0.1)


def test_batches_drop_by_keys_of_their_own():
    net = serial(dropout(0.5), batch_norm())
    params, _ = net.init(jax.random.key(0), (7,))
    once, twice = (funcnet.calibrate(net, params, np.ones((n, 11, 7)), KEY)[1]["population"] for n in (1, 2))
    assert not jnp.allclose(once.mean, twice.mean)


def test_a_batch_of_one_has_no_variance():
    net = batch_norm()
    params, _ = net.init(jax.random.key(0), (7,))
    with pytest.raises(ValueError, match="two examples at least"):
        funcnet.calibrate(net, params, BATCHES[:, :1], KEY)
