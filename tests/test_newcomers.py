"""The mistakes of a newcomer: each ends in one sentence that says what to do, and nothing is computed."""

import pydoc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import (
    batch_norm,
    conv2d,
    dense,
    dropout,
    embedding,
    gru,
    layer_norm,
    multi_head_attention,
    ops,
    optimizers,
    parallel,
    positions,
    relu,
    repeat,
    residual,
    serial,
    swiglu,
)  # fmt: skip
from funcnet.types import Layer, Rule, ShapeError
from tests.cases import LAYERS, RULES
from tests.trees import draw

KEY = jax.random.key(0)
NET = serial(dense(5), relu(), dense(3))
PARAMS, OUT = NET.init(KEY, (7,))
X, LABELS = np.ones((6, 7)), np.zeros(6, np.int32)
LOSS = ops.sparse_softmax_cross_entropy()


def fit(**changed):
    given = {
        "net": NET, "loss": LOSS, "optimizer": optimizers.sgd(0.1), "params": PARAMS, "train": (X, LABELS), "key": KEY,
        "epochs": 1, "batch_size": 2, "progress": False,
    }  # fmt: skip
    return funcnet.fit(**{**given, **changed})


SEED = r"a random key; got 3: jax.random.key\(3\) makes one"


@pytest.mark.parametrize(
    "call",
    [
        lambda: NET.init(3, (7,)),
        lambda: dense(5).init(3, (7,)),
        lambda: conv2d(5).init(3, (7, 7, 1)),
        lambda: gru(5).init(3, (7, 5)),
        lambda: multi_head_attention(1).init(3, (7, 5)),
        lambda: embedding(7, 5).init(3, (7,)),
        lambda: repeat(dense(7), 2).init(3, (7,)),
        lambda: NET.fwd(PARAMS, X, 3),
        lambda: parallel(dense(5), dense(5)).fwd((PARAMS[0], PARAMS[0]), X, 3),
        lambda: dropout(0.5).fwd({}, X, 3),
        lambda: fit(key=3),
        lambda: funcnet.init_state(PARAMS, optimizers.sgd(0.1), 3),
    ],
)
def test_a_seed_for_a_key(call):
    with pytest.raises(TypeError, match=SEED):
        call()


def test_old_keys_are_keys():
    NET.init(jax.random.PRNGKey(0), (7,))


@pytest.mark.parametrize(
    ("call", "held"),
    [
        (lambda: NET.fwd(PARAMS, X.tolist()), "list that holds float"),
        (lambda: dense(5).fwd(PARAMS[0], X.tolist()), "a list"),
        (lambda: dense(5).fwd(PARAMS[0], tuple(X)), "a tuple"),
        (lambda: relu().fwd({}, 3.0), "a float"),
        (lambda: LOSS.fwd(X.tolist(), LABELS.tolist()), "list that holds float"),
        (lambda: ops.mean_squared_error().fwd(X, X.tolist()), "list that holds float"),
        (lambda: fit(train=(X.tolist(), LABELS.tolist())), "tuple that holds float"),
        (lambda: fit(train=(X, LABELS.tolist())), "tuple that holds int"),
        (lambda: funcnet.evaluate(NET, LOSS, {}, PARAMS, (X.tolist(), LABELS)), "tuple that holds float"),
    ],
)
def test_lists_for_arrays(call, held):
    with pytest.raises(TypeError, match=rf"expects an array; got .*{held}: jnp.asarray\(...\) makes an array of it"):
        call()


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_lists_for_the_arrays_of_a_rule(case):
    args = case.args((3,))

    def listed(tree):
        return jax.tree.map(
            lambda a: a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray(a).tolist(), tree
        )

    for place, arg in enumerate(args):
        wrong = listed(arg)
        if jax.tree.structure(wrong) != jax.tree.structure(arg):  # no key, no targets that are None
            with pytest.raises(TypeError, match=r"expects an array; got a .*: jnp.asarray\(...\) makes an array of it"):
                case.rule.fwd(*args[:place], wrong, *args[place + 1 :])


@pytest.mark.parametrize("layer", {case.name: case.layer for case in LAYERS}.values(), ids=lambda layer: layer.name)
def test_a_number_for_a_shape(layer):
    with pytest.raises(TypeError, match=r"expects the shape of one example, a tuple; got 7: write \(7,\)$"):
        layer.init(KEY, 7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit(params=NET.init(KEY, (7,))),
        lambda: funcnet.evaluate(NET, LOSS, {}, (PARAMS, OUT), (X, LABELS)),
        lambda: funcnet.init_state((PARAMS, OUT), optimizers.sgd(0.1), KEY),
        lambda: NET.fwd((PARAMS, OUT), X),
        lambda: dense(5).fwd(dense(5).init(KEY, (7,)), X),
        lambda: residual(dense(7)).fwd(dense(7).init(KEY, (7,)), X),
        lambda: repeat(dense(7), 3).fwd(repeat(dense(7), 3).init(KEY, (7,)), X),
    ],
)
def test_the_pair_that_init_returns(call):
    with pytest.raises(TypeError, match=r"the pair that init returns; pass its first part: params, out_shape = "):
        call()


@pytest.mark.parametrize(
    ("net", "params", "message"),
    [
        (NET, PARAMS[:2], "a tuple of 2, expects a tuple of 3"),
        (NET, (*PARAMS, {}), "a tuple of 4, expects a tuple of 3"),
        (NET, None, "a NoneType, expects a tuple of 3"),
        (serial(dense(5), relu(), dense(9)), PARAMS, r"serial\[2\] > dense\(9\) got params\['w'\] of shape \(5, 3\)"),
        (serial(a=dense(5)), {"a": PARAMS[0], "b": {}}, r"a dict of \['a', 'b'\], expects a dict of \['a'\]"),
        (serial(a=dense(5)), PARAMS[:1], r"a tuple of 1, expects a dict of \['a'\]"),
        (parallel(dense(5), dense(5)), PARAMS[:1], "a tuple of 1, expects a tuple of 2"),
        (repeat(dense(7), 2), dense(7).init(KEY, (7,))[0], r"expects \(2, ...\)"),
        (relu(), PARAMS[0], r"relu got params of \['b', 'w'\], expects \[\]"),
        (swiglu(), PARAMS[0], r"expects \[\]"),
        (dropout(0.5), PARAMS[0], r"expects \[\]"),
        (dense(5), {}, r"got params of \[\], expects \['w', 'b'\]"),
        (layer_norm(), {}, r"expects \['gamma', 'beta'\]"),
        (batch_norm(), {}, r"expects \['gamma', 'beta', 'population'\]"),
        (embedding(9, 5), {"table": X}, r"shape \(6, 7\), expects \(9, 5\)"),
        (positions(9), {"table": X}, r"shape \(6, 7\), expects \(9, any\)"),
    ],
)
def test_parameters_of_another_network(net, params, message):
    if isinstance(params, dict):
        params = dict(sorted(params.items()))
    with pytest.raises(ShapeError, match=message):
        net.fwd(params, jnp.asarray(X))


@pytest.mark.parametrize(
    ("build", "other", "shape"),
    [
        (lambda n: gru(n), 9, (5, 4)),
        (lambda n: conv2d(n), 9, (5, 5, 3)),
        (lambda n: multi_head_attention(2, key_heads=n), 2, (5, 8)),
    ],
)
def test_parameters_of_another_width(build, other, shape):
    params, _ = build(1).init(KEY, shape)
    with pytest.raises(ShapeError, match="are they of another network"):
        build(other).fwd(params, jnp.ones((2, *shape)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"net": dense}, "expects a Layer; got the function dense: call it"),
        ({"loss": ops.sparse_softmax_cross_entropy}, "expects a Rule; got the function sparse_softmax_cross_entropy"),
        ({"optimizer": optimizers.adam}, "expects an Optimizer; got the function adam: call it"),
    ],
)
def test_a_factory_not_called(changed, message):
    with pytest.raises(TypeError, match=message):
        fit(**changed)


@pytest.mark.parametrize("changed", [{"epochs": 1.5}, {"epochs": "3"}, {"batch_size": 2.5}, {"patience": 0.5}])
def test_counts_are_whole_numbers(changed):
    with pytest.raises(ValueError, match=f"{next(iter(changed))} "):
        fit(**changed, validation=(X, LABELS))


# ---------------------------------------------------------------- nothing to compute with


def emptied(tree, batch):
    """The arrays whose first axes are the batch, without an example."""
    return jax.tree.map(lambda a: a[:0] if a.shape[: len(batch)] == batch else a, tree)


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_empty_batches_pass_through_or_are_refused(case):
    batch = (11,)
    args = case.args(batch)
    empty = emptied(args, batch)
    try:
        y, residuals = case.rule.fwd(*empty)
    except ShapeError as error:
        assert "mean of no terms" in str(error) or "statistics of no values" in str(error)  # noqa: PT017
        return
    grads = case.rule.bwd(residuals, draw(0, y))
    for grad, arg in zip(grads, empty, strict=False):  # a bias that is left out has no gradient
        if grad is not None:
            for d, a in zip(jax.tree.leaves(grad), jax.tree.leaves(arg), strict=False):
                assert d.shape == a.shape
                assert np.isfinite(d).all()


@pytest.mark.parametrize("rule", [ops.rnn, ops.gru, ops.lstm])
def test_empty_sequences_pass_through(rule):
    case = next(case for case in RULES if case.rule is rule)
    x, *rest = case.args((3,))
    y, residuals = rule.fwd(x[:, :0], *rest)
    dx, *_ = rule.bwd(residuals, draw(0, y))
    assert dx.shape == x[:, :0].shape


# ---------------------------------------------------------------- names and help


@pytest.mark.parametrize("name", ["data", "layers", "lift", "gradcheck", "checkpoint", "models", "training", "types"])
def test_names_are_found_from_the_package(name):
    assert getattr(funcnet, name)


def test_layers_lift_and_gradcheck_are_found():
    assert callable(funcnet.layers.lift)
    assert callable(funcnet.gradcheck.check)
    with pytest.raises(AttributeError, match="no attribute 'lyers'"):
        funcnet.lyers  # noqa: B018


def test_help_shows_the_derivation():
    text = pydoc.render_doc(ops.softmax, renderer=pydoc.plaintext)
    assert "e^{x_k} / Σ_j e^{x_j}" in text
    assert "dx = y ⊙ (dy − Σ_j dy_j y_j)" in text
    assert Rule.__doc__.startswith("An operation and its derivative.")
    assert type(ops.softmax) is Rule
    assert jax.tree.structure(ops.softmax) == jax.tree.structure(Rule(1, 2))
    assert isinstance(Layer.__doc__, str)
