"""Epochs: scanned, resumed, guarded against NaN, from arrays and from iterators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import dense, ops, optimizers, serial, training
from funcnet.ops.normalization import Population
from funcnet.training import NonFiniteError, epoch_order, epochs, init_state, train_epoch, train_epochs, train_step
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close, assert_equal

NET = funcnet.models.mlp((13, 11), 5)
LOSS = ops.sparse_softmax_cross_entropy()
X, LABELS = normal(0, 40, 7), np.arange(40) % 5
KEY = jax.random.key(3)


def parameters(net=NET):
    return net.init(jax.random.key(0), (7,))[0]


def test_an_epoch_is_its_steps():
    net = funcnet.models.mlp((13,), 5, dropout_rate=0.3)
    optimizer = optimizers.adam(0.01)
    order = training.epoch_order(KEY, 0, 40, 7)
    state = init_state(parameters(net), optimizer, KEY)
    step = train_step(net, LOSS, optimizer)
    whole, losses = jax.jit(train_epoch(step))(state, (X, LABELS), order)
    for rows, expected in zip(order, losses, strict=True):
        state, loss = jax.jit(step)(state, (X[rows], LABELS[rows]))
        assert float(loss) == pytest.approx(float(expected), rel=1e-11)
    assert int(whole.step) == 5
    assert_close(whole._replace(key=()), state._replace(key=()), 1e-11, 1e-13)


def test_order_is_a_permutation_that_follows_key_and_epoch():
    order = training.epoch_order(KEY, 0, 41, 8)
    assert order.shape == (5, 8)
    assert order.dtype == np.int32
    assert len(set(order.ravel().tolist()) & set(range(41))) == 40
    assert np.array_equal(order, training.epoch_order(KEY, 0, 41, 8))
    for other in (training.epoch_order(KEY, 1, 41, 8), training.epoch_order(jax.random.key(4), 0, 41, 8)):
        assert not np.array_equal(order, other)
    for batch_size in (0, 42):
        with pytest.raises(ValueError, match="between 1 and the 41 training examples"):
            training.epoch_order(KEY, 0, 41, batch_size)


def compiled_text(f, *args):
    return jax.jit(f).lower(*args).compile().as_text()


def test_no_loss_is_computed_where_none_is_reported():
    """The logarithm stands in the loss alone: an epoch has it if its caller keeps the losses."""
    optimizer = optimizers.sgd(0.1)
    state = init_state(parameters(), optimizer, KEY)
    order = training.epoch_order(KEY, 0, 40, 8)
    epoch = train_epoch(train_step(NET, LOSS, optimizer))
    arguments = state, (X, LABELS), order
    assert " log(" in compiled_text(epoch, *arguments)
    assert " log(" not in compiled_text(lambda *arguments: epoch(*arguments)[0], *arguments)
    assert " log(" not in compiled_text(train_epoch(train_step(NET, LOSS, optimizer, aux=None)), *arguments)


def test_an_epoch_is_given_its_state_for_good():
    optimizer = optimizers.adam(0.01)
    state = init_state(parameters(), optimizer, KEY)
    training.epochs._run(train_step(NET, LOSS, optimizer), state, (X, LABELS), training.epoch_order(KEY, 0, 40, 8))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state, state.step)))


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion"])
def test_no_optimizer_moves_the_population(name):
    """Nor decay, nor a penalty: its gradient is zero, and it is no weight."""
    net = serial(dense(13), funcnet.batch_norm(), dense(5))
    optimizer = optimizers.chain(optimizers.add_decayed_weights(0.1), getattr(optimizers, name)(0.1))
    params = jax.tree.map(lambda p: p + 0.5, parameters(net))
    step = train_step(net, LOSS, optimizer, ops.l2(0.1))
    after, _ = next(train_epochs(step, init_state(params, optimizer, KEY), (X, LABELS), 8))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), after.params[1], params[1])
    assert moved == {"gamma": True, "beta": True, "population": Population(False, False)}


# ---------------------------------------------------------------- the generator

DROPPING = funcnet.models.mlp((13,), 5, dropout_rate=0.3)
ADAM = optimizers.adam(0.02)
STEP = train_step(DROPPING, LOSS, ADAM)


def first_state():
    return init_state(parameters(DROPPING), ADAM, KEY)


@pytest.fixture(scope="module")
def whole():
    """Every step of three epochs on its own."""
    return list(train_epochs(STEP, first_state(), (X, LABELS), 7, epochs=3, every=1))


def test_it_yields_after_every_so_many_steps_and_at_the_end(whole):
    assert [int(state.step) for state, _ in whole] == list(range(1, 16))
    found = list(train_epochs(STEP, first_state(), (X, LABELS), 7, epochs=3, every=4))
    assert [int(state.step) for state, _ in found] == [4, 8, 12, 15]
    assert [len(losses) for _, losses in found] == [4, 4, 4, 3]
    assert_equal(found[-1][0], whole[-1][0])
    assert_equal(np.concatenate([losses for _, losses in found]), np.concatenate([losses for _, losses in whole]))


@pytest.mark.parametrize("saved", [1, 5, 7, 14])
def test_a_run_goes_on_from_any_state_and_ends_equal_to_the_bit(whole, saved):
    """Also from the middle of an epoch. All states that were yielded are still there to go on from."""
    found = list(train_epochs(STEP, whole[saved - 1][0], (X, LABELS), 7, epochs=3))
    assert [int(state.step) for state, _ in found] == [end for end in (5, 10, 15) if end > saved]
    assert_equal(found[-1][0], whole[-1][0])
    assert not list(train_epochs(STEP, found[-1][0], (X, LABELS), 7, epochs=3))


@pytest.mark.parametrize("every", [None, 4])
def test_an_iterator_of_the_same_batches_is_the_same_run(whole, every):
    orders = [rows for epoch in range(3) for rows in epoch_order(KEY, epoch, 40, 7)]
    batches = ((X[rows], LABELS[rows]) for rows in orders)
    found = list(train_epochs(STEP, first_state(), batches, every=every))
    assert [int(state.step) for state, _ in found] == (list(range(1, 16)) if every is None else [4, 8, 12, 15])
    assert_equal(found[-1][0], whole[-1][0])


def test_equal_losses_and_penalties_are_compiled_once():
    def run(loss, penalty):
        next(train_epochs(train_step(DROPPING, loss, ADAM, penalty), first_state(), (X, LABELS), 7))

    run(ops.sparse_softmax_cross_entropy(0.1), ops.l2())
    before = epochs._run._cache_size()
    run(ops.sparse_softmax_cross_entropy(label_smoothing=0.1, reduction="mean"), ops.l2(strength=0.01))
    assert epochs._run._cache_size() == before


def test_a_step_of_ones_own_is_guarded_too():
    """No gradient is known of it, so only the parameter is named, whatever its aux holds."""

    def step(state, batch):
        bad = (state.step >= 8) & (jnp.arange(3) == 1)
        return state._replace(params={"w": jnp.where(bad, jnp.inf, batch[:3])}, step=state.step + 1), {
            "loss": {"a": jnp.inf}
        }

    state = training.TrainState({"w": jnp.zeros(3)}, (), jnp.int32(0), KEY)
    with pytest.raises(NonFiniteError, match=r"step 8: params\['w'\] is not finite; try"):
        list(train_epochs(step, state, X[:, 0], 4, epochs=3))
    with pytest.raises(ValueError, match=r"adds 1 to state.step; 10 steps went from 0 to 0"):
        next(train_epochs(lambda state, batch: (state, None), state, X, 4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((X, LABELS), 41), ValueError, "between 1 and the 40"),
        (((X, LABELS[:3]), 2), ShapeError, r"one first axis.*\(40, 7\), \(3,\)"),
        (((X, LABELS), 8, {"every": 0}), ValueError, "every must be at least 1; got 0"),
        (((X, LABELS), 8, {"epochs": -1}), ValueError, "epochs must be at least 1; got -1"),
        ((iter([(X, LABELS)]), None, {"epochs": 2}), ValueError, "an iterator of batches ends by itself"),
        (((X, LABELS), None), TypeError, "give a batch_size for arrays, or an iterator of batches; got a tuple"),
        ((iter([(X, LABELS), (X[1:], LABELS[1:])]), None, {"every": 2}), ShapeError, "every=2 .* one shape"),
    ],
)
def test_what_cannot_be_trained_on(arguments, error, message):
    data, batch_size, settings = (*arguments, {})[:3]
    with pytest.raises(error, match=message):
        next(train_epochs(STEP, first_state(), data, batch_size, **settings))
