"""Every layer by the derivation checker, in training and in inference; shapes, keys, defaults."""

import jax
import jax.numpy as jnp
import pytest

import funcnet
from funcnet import gradcheck, initializers
from funcnet.types import Layer, ShapeError
from tests.cases import LAYERS, case_id, layer_args, normal
from tests.trees import assert_is_vjp


@pytest.mark.parametrize("case", [case for case in LAYERS if not case.long], ids=case_id)
def test_backward_is_the_vjp_of_the_forward(case):
    gradcheck.assert_correct(case.layer, in_shape=case.in_shape, dtypes=())  # other dtypes: with the rules


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in LAYERS if case.long], ids=case_id)
def test_long_backward_is_the_vjp_of_the_forward(case):
    params, x, key = layer_args(case, training=True)
    assert_is_vjp(lambda params, x: case.layer.fwd(params, x, key), case.layer.bwd, (params, x))


@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_init_infers_the_shape_that_fwd_gives(case):
    params, x, key = layer_args(case, training=True)
    found = []
    jax.eval_shape(lambda key: found.append(case.layer.init(key, case.in_shape)[1]), jax.random.key(0))
    y, _ = jax.eval_shape(case.layer.fwd, params, x, key)
    assert y.shape == (len(x), *found[0])


@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_forward_and_backward_may_be_jitted_apart(case):
    """Residuals hold only arrays: a Python number among them would reach the backward as a tracer. Nothing compiles."""
    key, x = jax.random.key(0), jax.ShapeDtypeStruct((11, *case.in_shape), int if case.vocabulary else float)
    params = jax.eval_shape(lambda key: case.layer.init(key, case.in_shape)[0], key)

    def fwd(*args):
        y, residuals = case.layer.fwd(*args)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(residuals))
        return y, residuals

    y, residuals = jax.eval_shape(fwd, params, x, key)
    cotangents = jax.eval_shape(case.layer.bwd, residuals, y)
    assert cotangents == (params, None if case.vocabulary else x)


def test_every_public_layer_has_a_case():
    """A public factory is a function that returns a layer, given a setting or a layer if it needs one."""
    public = set()
    for name in funcnet.__all__:
        for args in (
            (),
            (0.5,),
            (funcnet.relu(),),
            (funcnet.relu(), 3),
            (funcnet.relu(), float),
            (funcnet.relu(), funcnet.relu()),
            (3,),
            (3, 5),
        ):
            try:
                made = getattr(funcnet, name)(*args)
            except (TypeError, ValueError, AttributeError):
                continue
            if isinstance(made, Layer) and name not in ("Layer", "lift"):
                public.add(name)
    models = {"gpt", "lenet", "mlp", "resnet"}
    assert public == {case.name for case in LAYERS} - models
    assert models == set(funcnet.models.MODELS)


def test_dense_says_what_it_expects():
    layer = funcnet.dense(3)
    params, _ = layer.init(jax.random.key(0), (7,))
    with pytest.raises(ShapeError, match=r"dense\(3\) got x of shape \(2, 5\), expects \(N, \.\.\., 7\)"):
        layer.fwd(params, normal(0, 2, 5))
    with pytest.raises(ShapeError, match=r"dense\(3\) got input shape \(\)"):
        layer.init(jax.random.key(0), ())
    with pytest.raises(ValueError, match="at least one feature"):
        funcnet.dense(0)


def test_dense_starts_from_lecun_weights_and_no_bias():
    params, _ = funcnet.dense(301).init(jax.random.key(0), (151,))
    assert params["w"].var() == pytest.approx(1 / 151, rel=0.03)
    assert not params["b"].any()


def test_dense_draws_weights_and_bias_apart():
    params, _ = funcnet.dense(7, initializers.normal(), initializers.normal()).init(jax.random.key(0), (1,))
    assert not jnp.isclose(params["w"][0], params["b"]).any()


def test_dropout_is_the_presence_of_a_key():
    layer = funcnet.dropout(0.5)
    x = jnp.ones((3, 5))
    assert jnp.array_equal(layer.fwd({}, x)[0], x)
    assert (layer.fwd({}, x, jax.random.key(0))[0] == 0).any()


def test_batch_norm_normalises_by_the_batch_in_training_and_by_the_population_in_inference():
    layer = funcnet.batch_norm(eps=1e-12)
    params, _ = layer.init(jax.random.key(0), (7,))
    x = 5 + 3 * jnp.asarray(normal(0, 11, 7))
    assert jnp.array_equal(layer.fwd(params, x)[0], x / jnp.sqrt(1 + 1e-12))  # as it starts: mean 0, variance 1
    y, residuals = layer.fwd(params, x, jax.random.key(0))
    assert jnp.allclose(y.mean(axis=0), 0, atol=1e-13)
    assert jnp.allclose(y.var(axis=0), 1, rtol=1e-10)
    population = residuals.population
    assert jnp.allclose(population.mean, x.mean(axis=0), rtol=1e-13)
    assert jnp.allclose(population.var, x.var(axis=0, ddof=1), rtol=1e-13)
    assert jnp.allclose(layer.fwd(params | {"population": population}, x)[0], y * jnp.sqrt(10 / 11), rtol=1e-9)


def test_batch_norm_says_what_it_expects():
    layer = funcnet.batch_norm()
    params, _ = layer.init(jax.random.key(0), (7,))
    for key, name in ((None, "batch_norm_inference"), (jax.random.key(0), "batch_norm")):
        with pytest.raises(ShapeError, match=rf"{name} got x \(2, 5\) and vectors \(7,\), .* expects x \(\*B, C\)"):
            layer.fwd(params, normal(0, 2, 5), key)
    with pytest.raises(ShapeError, match=r"batch_norm got input shape \(\)"):
        layer.init(jax.random.key(0), ())


@pytest.mark.parametrize(
    "layer", [funcnet.layer_norm(), funcnet.rms_norm(), funcnet.group_norm(3)], ids=lambda n: n.name
)
def test_a_norm_starts_with_gains_of_one_and_says_what_it_expects(layer):
    params, _ = layer.init(jax.random.key(0), (5, 9))
    assert jnp.array_equal(params["gamma"], jnp.ones(9))
    assert not params.get("beta", jnp.zeros(9)).any()
    for shape in ((), *(((5, 7),) if "group" in layer.name else ())):
        with pytest.raises(ShapeError, match=f"^{layer.name[:8]}.* got input shape"):
            layer.init(jax.random.key(0), shape)


def test_embedding_and_positions_say_what_they_expect():
    layer = funcnet.embedding(7, 5)
    params, _ = layer.init(jax.random.key(0), (3,))
    assert params["table"].std() == pytest.approx(0.02, rel=0.3)
    with pytest.raises(ShapeError, match=r"integer tokens \(\*B\); got \(7, 5\) and float64 \(2, 3\)"):
        layer.fwd(params, normal(0, 2, 3))
    with pytest.raises(ValueError, match="at least one token and one feature; got 0 and 5"):
        funcnet.embedding(0, 5)
    with pytest.raises(ValueError, match="at least one position"):
        funcnet.positions(0)
    with pytest.raises(ShapeError, match=r"positions\(2\) got input shape \(3, 7\)"):
        funcnet.positions(2).init(jax.random.key(0), (3, 7))
    params, _ = funcnet.positions(5).init(jax.random.key(0), (3, 7))
    with pytest.raises(ShapeError, match=r"positions got x \(2, 6, 7\), table \(5, 7\)"):
        funcnet.positions(5).fwd(params, normal(0, 2, 6, 7))


@pytest.mark.parametrize("factory", [funcnet.rnn, funcnet.lstm, funcnet.gru])
def test_a_recurrent_layer_says_what_it_expects(factory):
    layer = factory(4)
    params, _ = layer.init(jax.random.key(0), (5, 3))
    with pytest.raises(ShapeError, match=r"\(4\) got x of shape \(2, 5, 6\), expects \(N, \.\.\., T, 3\)"):
        layer.fwd(params, normal(0, 2, 5, 6))
    with pytest.raises(ShapeError, match=r"\(4\) got input shape \(3,\), expects \(\.\.\., T, I\)"):
        layer.init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match="at least one feature; got 0"):
        factory(0)


def test_a_recurrent_layer_starts_from_lecun_weights():
    params, _ = funcnet.lstm(97).init(jax.random.key(0), (3, 51))
    assert params["input"]["w"].var() == pytest.approx(1 / 51, rel=0.05)
    assert params["state"]["w"].var() == pytest.approx(1 / 97, rel=0.05)
