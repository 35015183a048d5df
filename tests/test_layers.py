"""Every layer against autodiff, in training and in inference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet.types import Layer, ShapeError
from tests.cases import LAYERS, case_id, layer_args, normal
from tests.oracle import as_rule, assert_derivation


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_backward_is_the_vjp_of_the_forward(case, training, dtype):
    assert_derivation(as_rule(case.layer), layer_args(case, training), dtype)


@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_init_infers_the_shape_that_fwd_gives(case):
    params, x, key = layer_args(case, training=True)
    _, out_shape = case.layer.init(jax.random.key(0), case.in_shape)
    y, _ = jax.eval_shape(case.layer.fwd, params, x, key)
    assert y.shape == (len(x), *out_shape)


def test_every_public_layer_has_a_case():
    """A factory is public where calling it, with a setting or a layer if it needs one, gives a layer."""
    public = set()
    for name in funcnet.__all__:
        for args in ((), (0.5,), (funcnet.relu(),), (3,)):
            try:
                made = getattr(funcnet, name)(*args)
            except (TypeError, ValueError, AttributeError):
                continue
            if isinstance(made, Layer) and name != "Layer":
                public.add(name)
    assert public == {case.name for case in LAYERS} - {"mlp"}
    assert {"mlp"} == set(funcnet.models.__all__)


def test_dense_says_what_it_wants():
    layer = funcnet.dense(3)
    params, _ = layer.init(jax.random.key(0), (7,))
    with pytest.raises(ShapeError, match=r"dense\(3\) got x of shape \(2, 5\), wants \(N, \.\.\., 7\)"):
        layer.fwd(params, normal(0, 2, 5))
    with pytest.raises(ShapeError, match=r"dense\(3\) got input shape \(\)"):
        layer.init(jax.random.key(0), ())
    with pytest.raises(ValueError, match="at least one feature"):
        funcnet.dense(0)


def test_dropout_is_the_presence_of_a_key():
    layer = funcnet.dropout(0.5)
    x = jnp.ones((3, 5))
    assert jnp.array_equal(layer.fwd({}, x)[0], x)
    assert (layer.fwd({}, x, jax.random.key(0))[0] == 0).any()
