"""Random nested networks against autodiff, the rule for integer inputs, and errors that say where."""

import functools
import re

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import funcnet
from funcnet import dense, dropout, flatten, gradcheck, parallel, relu, repeat, residual, serial, tanh
from funcnet.types import Layer, ShapeError
from tests.cases import normal
from tests.trees import assert_close, assert_equal

ODD = st.sampled_from([3, 5, 7, 11])


@st.composite
def networks(draw, features: int, depth: int):
    """A network on (..., features), and the features that it gives."""
    kind = draw(st.sampled_from(["leaf", "leaf", "serial", "residual", "sum", "concatenate"] if depth else ["leaf"]))
    if kind == "leaf":
        out = draw(ODD)
        leaf = draw(st.sampled_from([dense(out), tanh(), funcnet.silu(), dropout(0.4), funcnet.softmax()]))
        return leaf, out if leaf.name.startswith("dense") else features
    if kind == "serial":
        first, middle = draw(networks(features, depth - 1))
        second, out = draw(networks(middle, depth - 1))
        return serial(first, second), out
    parts = [draw(networks(features, depth - 1)) for _ in range(draw(st.integers(1, 3)))]
    if kind == "concatenate":
        return parallel(*(layer for layer, _ in parts), merge="concatenate"), sum(out for _, out in parts)
    # what is added must agree: a dense layer brings every branch to one width
    width = features if kind == "residual" else draw(ODD)
    branches = [serial(layer, dense(width)) for layer, _ in parts]
    return (residual(branches[0]) if kind == "residual" else parallel(*branches)), width


@pytest.mark.parametrize("combine", [serial, parallel, functools.partial(parallel, merge="concatenate")])
def test_parts_by_name_are_the_same_parts(combine):
    """In the order in which they are written, which is not alphabetical: the same numbers and gradients."""
    parts = {"second": dense(7), "first": dropout(0.4), "a": dense(7)}
    named, placed = combine(**parts), combine(*parts.values())
    (params, shape), (expected, expected_shape) = (net.init(jax.random.key(0), (7,)) for net in (named, placed))
    assert shape == expected_shape
    assert list(params) == ["second", "first", "a"]
    x, dy = normal(1, 11, 7), normal(2, 11, *shape)
    runs = [(net, *net.fwd(p, x, jax.random.key(3))) for net, p in ((named, params), (placed, expected))]
    (y, dparams, dx), (y0, dparams0, dx0) = ((y, *net.bwd(residuals, dy)) for net, y, residuals in runs)
    assert_equal((y, dx, list(dparams.values())), (y0, dx0, list(dparams0)))
    assert named.labels == ("second", "first", "a")


def test_a_population_in_a_named_part_is_its_own():
    """A dict's leaves are in the order of their names, in params and in residuals alike."""
    net = serial(z=funcnet.batch_norm(), a=serial(dense(7), funcnet.batch_norm()))
    params, x = net.init(jax.random.key(0), (7,))[0], 5 + 3 * normal(0, 1, 11, 7)
    found = funcnet.calibrate(net, params, x, jax.random.key(1))
    np.testing.assert_allclose(found["z"]["population"].mean, x[0].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["a"][1]["population"].mean, np.zeros(7), atol=1e-12)


@settings(max_examples=settings().max_examples // 25)  # each takes seconds
@given(data=st.data(), features=ODD, lead=st.sampled_from([(), (3,)]))
def test_chain_rule_on_random_networks(data, features, lead):
    net, out = data.draw(networks(features, depth=2))
    _, out_shape = net.init(jax.random.key(0), (*lead, features))
    assert out_shape == (*lead, out)
    gradcheck.assert_correct(net, in_shape=(*lead, features), dtypes=(), quick=True)


def test_a_key_reaches_every_layer_as_its_own():
    net = parallel(dropout(0.5), dropout(0.5), merge="concatenate")
    params, _ = net.init(jax.random.key(0), (101,))
    y, _ = net.fwd(params, np.ones((1, 101)), jax.random.key(1))
    assert not jnp.array_equal(y[:, :101], y[:, 101:])


@pytest.mark.parametrize("combine", [serial, parallel])
def test_every_part_draws_parameters_of_its_own(combine):
    params, _ = combine(dense(7), dense(7), dense(7)).init(jax.random.key(0), (7,))
    assert len({part["w"].tobytes() for part in params}) == 3


HALF = dropout(0.5)


@pytest.mark.parametrize(
    ("net", "shares"),
    [
        (serial(HALF, HALF, HALF), {0: 7 / 8, 8: 1 / 8}),
        (parallel(HALF, HALF), {0: 1 / 4, 2: 1 / 2, 4: 1 / 4}),
        (residual(HALF), {1: 1 / 2, 3: 1 / 2}),
        (residual(serial(HALF, HALF)), {1: 3 / 4, 5: 1 / 4}),
    ],
    ids=["serial", "parallel", "residual", "residual of serial"],
)
def test_every_part_drops_by_a_key_of_its_own(net, shares):
    """What comes of ones when the masks are independent, and how often."""
    x = jnp.ones((11, 301))
    y, _ = net.fwd(net.init(jax.random.key(0), (301,))[0], x, jax.random.key(1))
    values, counts = np.unique(y, return_counts=True)
    assert dict(zip(values.tolist(), counts / x.size, strict=True)) == pytest.approx(shares, abs=0.05)


# ---------------------------------------------------------------- repeat


def test_repeat_is_a_chain_of_copies_with_parameters_and_keys_of_their_own():
    part = serial(dense(7), dropout(0.4))
    stacked, chain = repeat(part, 3), serial(part, part, part)
    params, shape = stacked.init(jax.random.key(0), (7,))
    apart, _ = chain.init(jax.random.key(0), (7,))
    assert shape == (7,)
    assert_close(tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(3)), apart, 1e-14, 1e-14)

    @jax.jit
    def both(params, apart, x, dy):
        runs = [(net, *net.fwd(p, x, jax.random.key(3))) for net, p in ((stacked, params), (chain, apart))]
        return [(y, net.bwd(residuals, dy)) for net, y, residuals in runs]

    (y, (dparams, dx)), (expected, (dapart, dx_apart)) = both(params, apart, normal(1, 11, 7), normal(2, 11, 7))
    assert_close((y, dx), (expected, dx_apart), 1e-12, 1e-13)
    assert_close(dparams, jax.tree.map(lambda *leaves: np.stack(leaves), *dapart), 1e-12, 1e-13)


def test_what_is_repeated_is_compiled_once():
    """The program of 30 layers is that of 3, but for its numbers."""

    def lines(times):
        net, x = repeat(serial(dense(7), tanh()), times), jax.ShapeDtypeStruct((3, 7), float)
        params = jax.eval_shape(lambda key: net.init(key, (7,))[0], jax.random.key(0))
        return len(jax.jit(lambda p, x: net.bwd(net.fwd(p, x)[1], x)).lower(params, x).as_text().splitlines())

    assert lines(30) == lines(3)


def test_population_of_what_is_repeated_is_calibrated():
    net, x = repeat(funcnet.batch_norm(), 2), 5 + 3 * normal(0, 1, 11, 7)
    params, _ = net.init(jax.random.key(0), (7,))
    population = funcnet.calibrate(net, params, x, jax.random.key(1))["population"]
    np.testing.assert_allclose(population.mean[0], x[0].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(population.mean[1], np.zeros(7), atol=1e-12)


# ---------------------------------------------------------------- integer inputs

lookup = Layer(
    init=lambda key, in_shape: ({"table": jnp.asarray(normal(0, 7))}, in_shape),
    fwd=lambda params, x, key=None: (params["table"][x], x),
    bwd=lambda x, dy: ({"table": jnp.zeros(7).at[x].add(dy)}, None),
    name="lookup",
)


def test_integers_enter_a_serial_through_its_first_layer():
    net = serial(lookup, dense(3))
    params, _ = net.init(jax.random.key(0), (2,))
    x = jnp.array([[1, 1], [0, 6]])
    y, residuals = net.fwd(params, x)
    dy = normal(1, *y.shape)
    dparams, dx = net.bwd(residuals, dy)
    assert dx is None
    (expected,) = jax.vjp(lambda p: net.fwd(p, x)[0], params)[1](jnp.asarray(dy))
    assert jax.tree.all(jax.tree.map(jnp.allclose, dparams, expected))


@pytest.mark.parametrize("net", [serial(flatten(), lookup), residual(lookup), parallel(lookup, lookup)])
def test_integers_anywhere_else_are_a_clear_error(net):
    params, _ = (lookup if net.name == "residual" else net).init(jax.random.key(0), (5,))
    with jax.numpy_dtype_promotion("standard"):  # the residual adds integers to floats
        y, residuals = net.fwd(params, jnp.array([[1, 1, 0, 2, 6]] * 5))
    with pytest.raises(TypeError, match=rf"{re.escape(net.name)}\[\d\] lookup takes integers and has no dx"):
        net.bwd(residuals, jnp.ones_like(y))


# ---------------------------------------------------------------- errors that say where


@pytest.mark.parametrize(
    ("net", "in_shape", "message"),
    [
        (repeat(dense(3), 2), (7,), r"repeat\(2\)\(dense\(3\)\) got output shape \(3,\), expects .* \(7,\)"),
        (residual(dense(3)), (7,), r"residual\(dense\(3\)\) got output shape \(3,\), expects .* \(7,\)"),
        (parallel(dense(3), dense(5)), (7,), r"parallel\(sum\)\[1\] dense\(5\) gives shape \(5,\), .* \(3,\)"),
        (parallel(dense(3), flatten(), merge="concatenate"), (2, 7), r"\[1\] flatten gives shape \(14,\).*\(2, 3\)"),
        (parallel(relu(), tanh(), merge="concatenate"), (), r"parallel\(concatenate\)\[0\] relu gives shape \(\)"),
        (parallel(flatten(), relu(), merge="concatenate"), (), r"\[1\] relu gives shape \(\), expects to fit \(1,\)"),
        (serial(relu(), serial(relu(), dense(3))), (), r"serial\[1\] > serial\[1\] > dense\(3\) got input shape \(\)"),
    ],
)
def test_init_names_the_layer_and_both_shapes(net, in_shape, message):
    with pytest.raises(ShapeError, match=message):
        net.init(jax.random.key(0), in_shape)


def test_fwd_names_the_layer_and_both_shapes():
    net = serial(flatten(), residual(serial(dense(5), relu(), dense(7))))
    params, _ = net.init(jax.random.key(0), (7,))
    with pytest.raises(
        ShapeError, match=r"serial\[1\] > residual\[0\] > serial\[0\] > dense\(5\) got x of shape \(2, 9\)"
    ):
        net.fwd(params, normal(0, 2, 9))


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="at least one layer"):
        parallel()
    with pytest.raises(ValueError, match="'sum' or 'concatenate'; got 'mean'"):
        parallel(relu(), merge="mean")
    with pytest.raises(ValueError, match="by position or by name, not some of each"):
        serial(relu(), last=relu())
    for wrong in (lambda: serial(dense(3), relu), lambda: residual(relu), lambda: repeat(relu, 2)):
        with pytest.raises(TypeError, match=r"\[\d\] expects a Layer; got the function relu: call it, relu\(...\)"):
            wrong()
    with pytest.raises(TypeError, match=r"parallel\(sum\)\[gate\] expects a Layer; got 3"):
        parallel(gate=3)
    with pytest.raises(ValueError, match="at least one time; got 0"):
        repeat(relu(), 0)
