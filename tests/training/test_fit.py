"""``fit``: what it learns, reports and refuses."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import dense, dropout, ops, optimizers, serial, training
from funcnet.training import NonFiniteError, fit, init_state, train_epochs, train_step
from funcnet.training.fit import _scores
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_equal

NET = funcnet.models.mlp((13, 11), 5)
LOSS = ops.sparse_softmax_cross_entropy()
X, LABELS = normal(0, 40, 7), np.arange(40) % 5
KEY = jax.random.key(3)


def parameters(net=NET):
    return net.init(jax.random.key(0), (7,))[0]


@pytest.mark.parametrize("net", [NET, funcnet.models.mlp((13,), 5, dropout_rate=0.3)], ids=["plain", "dropout"])
def test_fit_is_a_loop_over_train_epochs_to_the_bit(net):
    """Each epoch in an order of its own, with the penalty; the loop's step also returns its loss, as fit's does not."""
    optimizer, penalty = optimizers.adam(0.1), ops.l2(0.1)
    step = train_step(net, LOSS, optimizer, penalty)
    *_, (state, losses) = train_epochs(step, init_state(parameters(net), optimizer, KEY), (X, LABELS), 8, epochs=3)
    assert losses.shape == (5,)
    settings = {"key": KEY, "epochs": 3, "batch_size": 8, "penalty": penalty, "progress": False}
    found = fit(net, LOSS, optimizer, parameters(net), (X, LABELS), **settings)
    assert_equal((found.params, found.state.opt_state), (state.params, state.opt_state))


def test_nothing_recompiles():
    arguments = {"key": KEY, "epochs": 2, "batch_size": 8, "metrics": {"accuracy": funcnet.accuracy}, "progress": False}
    optimizer = optimizers.adam(0.01)
    data = (X, LABELS), (X[:9], LABELS[:9])
    compiled = {"epochs": training.epochs._run._cache_size, "scores": _scores._cache_size}
    fit(NET, LOSS, optimizer, parameters(), *data, **arguments)
    before = {name: size() for name, size in compiled.items()}
    fit(NET, LOSS, optimizer, parameters(), *data, **arguments)
    assert {name: size() for name, size in compiled.items()} == before


def test_fit_learns_reports_and_leaves_the_callers_arrays_alone():
    params = parameters()
    before = jax.tree.map(np.array, params)
    result = fit(
        NET, LOSS, optimizers.adam(0.02), params, (X, LABELS), (X[:9], LABELS[:9]),
        key=KEY, epochs=60, batch_size=8, metrics={"accuracy": funcnet.accuracy}, progress=False,
    )  # fmt: skip
    assert jax.tree.all(jax.tree.map(np.array_equal, params, before))
    assert [row["epoch"] for row in result.history] == list(range(1, 61))
    last = result.history[-1]
    assert set(last) == {
        "epoch", "seconds", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy",
    }  # fmt: skip
    predictions, _ = NET.fwd(result.params, X[:9])
    assert last["validation_accuracy"] == pytest.approx(float(funcnet.accuracy(predictions, LABELS[:9])))
    assert last["validation_loss"] == pytest.approx(float(LOSS.fwd(predictions, LABELS[:9])[0]), rel=1e-12)
    assert last["train_loss"] < 0.5 * result.history[0]["train_loss"]
    assert int(result.state.step) == 60 * 5


@pytest.mark.parametrize(
    ("examples", "validation", "scored"),
    [(40, 9, 9), (10_007, None, 10_000)],
    ids=["validation data", "no validation data"],
)
def test_fit_scores_in_inference_on_the_data_it_says(examples, validation, scored):
    net = serial(dropout(0.5), dense(5))
    x, labels = normal(1, examples, 7), np.arange(examples) % 5
    splits = {"train": (x[:scored], labels[:scored])}
    if validation:
        splits["validation"] = normal(2, validation, 7), np.arange(validation) % 5
    result = fit(
        net, LOSS, optimizers.sgd(0.1), parameters(net), (x, labels), splits.get("validation"),
        key=KEY, epochs=1, batch_size=13, progress=False,
    )  # fmt: skip
    for split, (x, labels) in splits.items():
        expected = float(LOSS.fwd(net.fwd(result.params, x)[0], labels)[0])
        assert result.history[-1][f"{split}_loss"] == pytest.approx(expected, rel=1e-12)


def test_seconds_are_those_of_training_alone(monkeypatch):
    hours, clock = [], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 3600 * len(hours))

    def slow(predictions, labels):
        hours.append("an hour, while it compiles")
        return funcnet.accuracy(predictions, labels)

    settings = {"key": KEY, "epochs": 2, "batch_size": 8, "metrics": {"slow": slow}, "progress": False}
    result = fit(NET, LOSS, optimizers.sgd(0.1), parameters(), (X, LABELS), **settings)
    assert hours
    assert all(0 < row["seconds"] < 3600 for row in result.history)


def test_evaluation_in_batches_is_evaluation_at_once():
    metrics = {"accuracy": funcnet.accuracy}
    whole = training.evaluate(NET, LOSS, metrics, parameters(), (X, LABELS))
    assert training.evaluate(NET, LOSS, metrics, parameters(), (X, LABELS), batch_size=7) == pytest.approx(whole)


def test_fit_calibrates_before_it_evaluates():
    net, optimizer = serial(dense(13), funcnet.batch_norm(), funcnet.relu(), dense(5)), optimizers.sgd(0.1)
    settings = {"key": KEY, "epochs": 2, "batch_size": 7, "progress": False}
    result = fit(net, LOSS, optimizer, parameters(net), (X, LABELS), (X[:9], LABELS[:9]), **settings)
    rows = training.epoch_order(KEY, 1, 40, 7)
    z = np.asarray(ops.dense.fwd(X[rows], *(result.params[0][name] for name in "wb"))[0])
    population = result.params[1]["population"]
    np.testing.assert_allclose(population.mean, z.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(population.var, z.var(axis=1, ddof=1).mean(axis=0), rtol=1e-12)
    loss = training.evaluate(net, LOSS, {}, result.params, (X[:9], LABELS[:9]))["loss"]
    assert result.history[-1]["validation_loss"] == loss


def test_early_stopping_returns_the_best():
    noise = np.random.default_rng(1).integers(5, size=40)  # labels that no input explains: validation gets worse
    result = fit(
        NET, LOSS, optimizers.adam(0.05), parameters(), (X, noise), (X[::-1], noise),
        key=KEY, epochs=100, batch_size=8, patience=4, progress=False,
    )  # fmt: skip
    losses = [row["validation_loss"] for row in result.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 100
    assert training.evaluate(NET, LOSS, {}, result.params, (X[::-1], noise))["loss"] == pytest.approx(losses[best])


def test_nan_in_the_data_is_named_with_step_and_leaf():
    x = X.copy()
    x[17, 3] = np.nan
    (batch,) = [i for i, rows in enumerate(training.epoch_order(KEY, 0, 40, 8)) if 17 in rows]
    with pytest.raises(
        NonFiniteError, match=rf"step {batch}: the gradient of params\[1\]\['w'\] is not .* nan;"
    ) as caught:
        fit(NET, LOSS, optimizers.sgd(0.1), parameters(), (x, LABELS), key=KEY, epochs=3, batch_size=8, progress=False)
    assert (caught.value.step, caught.value.leaf) == (batch, "params[1]['w']")


def test_a_step_that_overflows_is_named_as_the_update():
    explode = optimizers.Optimizer(
        lambda params: jnp.zeros((), jnp.int32),
        lambda grads, count, params: (
            jax.tree.map(lambda g: jnp.where(count == 7, jnp.inf, 0 * g), grads), count + 1,
        ),
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"step 7: the update of params\[1\]\['b'\] is not finite"):
        fit(NET, LOSS, explode, parameters(), (X, LABELS), key=KEY, epochs=3, batch_size=8, progress=False)


@pytest.mark.parametrize("leaf", ["params[1]['b']", "params[3]['w']", "params[5]['b']"])
def test_one_bad_leaf_of_any_layer_is_enough(leaf):
    """It goes wrong in the last step of the epoch, and so reaches no other leaf."""

    def update(grads, count, params):
        def spoil(path, g):
            bad = (count == 4) & ("params" + jax.tree_util.keystr(path) == leaf)
            return jnp.where(bad, jnp.inf, jnp.zeros_like(g))

        return jax.tree_util.tree_map_with_path(spoil, grads), count + 1

    spoiling = optimizers.Optimizer(lambda params: jnp.zeros((), jnp.int32), update)
    with pytest.raises(NonFiniteError) as caught:
        fit(NET, LOSS, spoiling, parameters(), (X, LABELS), key=KEY, epochs=1, batch_size=8, progress=False)
    assert (caught.value.step, caught.value.leaf) == (4, leaf)


def test_the_next_epoch_starts_from_the_calibrated_populations():
    """An optimizer sees them: here one that keeps the parameters it was last given."""
    watching = optimizers.Optimizer(
        lambda params: params, lambda grads, seen, params: (jax.tree.map(jnp.zeros_like, grads), params)
    )
    net = serial(dense(13), funcnet.batch_norm(), dense(5))
    settings = {"key": KEY, "batch_size": 7, "progress": False}
    once = fit(net, LOSS, watching, parameters(net), (X, LABELS), epochs=1, **settings)
    twice = fit(net, LOSS, watching, parameters(net), (X, LABELS), epochs=2, **settings)
    assert_equal(twice.state.opt_state[1]["population"], once.params[1]["population"])


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"patience": 2}, ValueError, "validation data"),
        ({"batch_size": 41}, ValueError, "between 1 and the 40"),
        ({"train": (X, LABELS[:3])}, ShapeError, r"one first axis.*\(40, 7\), \(3,\)"),
        ({"loss": ops.mean_squared_error("none"), "train": (X, normal(0, 40, 5))}, ShapeError, "scalar loss"),
        ({"train": (X[:, :5], LABELS)}, ShapeError, r"serial\[1\] > dense\(13\) got x of shape \(8, 5\)"),
    ],
)
def test_settings_that_cannot_work(changed, error, message):
    settings = {"key": KEY, "epochs": 1, "batch_size": 8, "progress": False}
    settings |= {"net": NET, "loss": LOSS, "optimizer": optimizers.sgd(0.1), "params": parameters()}
    settings |= {"train": (X, LABELS)} | changed
    with pytest.raises(error, match=message):
        fit(**settings)


def test_the_guard_names_the_step_though_jax_watches_for_nan_too():
    """With jax_debug_nans JAX runs a failed call again, on arrays that were donated to it."""
    sgd = optimizers.sgd(1e200)
    with jax.debug_nans(True), pytest.raises(NonFiniteError, match=r"step \d+: the \w+ of params") as caught:
        fit(NET, LOSS, sgd, parameters(), (X, LABELS), key=KEY, epochs=1, batch_size=5, progress=False)
    assert caught.value.leaf.startswith("params")


def test_evaluate_wants_a_scalar_loss():
    with pytest.raises(ShapeError, match=r"scalar loss; got shape \(\d+,\)"):
        training.evaluate(NET, ops.sparse_softmax_cross_entropy(reduction="none"), {}, parameters(), (X, LABELS))
