"""Training: against NumPy, against jax.value_and_grad, compiled once, sharded, lowered, and without autodiff."""

import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import dense, dropout, ops, optimizers, serial
from funcnet.ops.normalization import Population
from funcnet.training import fit as training
from funcnet.training.fit import NonFiniteError, fit, init_state, train_epoch, train_step, value_and_grad
from funcnet.types import ShapeError
from tests.cases import normal
from tests.trees import assert_close

NET = funcnet.models.mlp((13, 11), 5)
LOSS = ops.sparse_softmax_cross_entropy()
X, LABELS = normal(0, 40, 7), np.arange(40) % 5
KEY = jax.random.key(3)


def parameters(net=NET):
    return net.init(jax.random.key(0), (7,))[0]


# ---------------------------------------------------------------- the numbers


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
        state, value = step(state, X, LABELS)
        losses.append(float(value))
    np.testing.assert_allclose(losses, numpy_losses(parameters(), 10, 0.5), rtol=1e-12)
    assert losses[-1] < 0.8 * losses[0]


def test_an_epoch_is_its_steps():
    net = funcnet.models.mlp((13,), 5, dropout_rate=0.3)
    optimizer = optimizers.adam(0.01)
    order = training.epoch_order(KEY, 0, 40, 7)
    state = init_state(parameters(net), optimizer, KEY)
    whole = jax.jit(train_epoch(net, LOSS, optimizer))(state, (X, LABELS), order)
    step = jax.jit(train_step(net, LOSS, optimizer))
    for rows in order:
        state, _ = step(state, X[rows], LABELS[rows])
    assert int(whole.step) == 5
    assert_close(whole._replace(key=()), state._replace(key=()), 1e-11, 1e-13)


def test_fit_is_its_epochs():
    """Each in an order of its own, with the penalty."""
    optimizer, penalty = optimizers.sgd(0.1), ops.l2(0.1)
    run = jax.jit(train_epoch(NET, LOSS, optimizer, penalty))
    state = init_state(parameters(), optimizer, KEY)
    for epoch in range(3):
        state = run(state, (X, LABELS), training.epoch_order(KEY, epoch, 40, 8))
    settings = {"key": KEY, "epochs": 3, "batch_size": 8, "penalty": penalty, "progress": False}
    assert_close(fit(NET, LOSS, optimizer, parameters(), (X, LABELS), **settings).params, state.params, 1e-11, 1e-13)


def test_every_step_drops_by_a_key_of_its_own():
    """At a learning rate of 0 and on the same batch, nothing but the mask can change the loss."""
    net, optimizer = funcnet.models.mlp((13,), 5, dropout_rate=0.5), optimizers.sgd(0.0)
    step = jax.jit(train_step(net, LOSS, optimizer))
    first, value = step(init_state(parameters(net), optimizer, KEY), X, LABELS)
    _, second_value = step(first, X, LABELS)
    assert float(value) != float(second_value)


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


# ---------------------------------------------------------------- how it compiles


def compiled_text(f, *args):
    return jax.jit(f).lower(*args).compile().as_text()


def test_no_loss_is_computed_where_none_is_reported():
    """The logarithm stands in the loss alone; a step that returns the loss has it, an epoch does not."""
    optimizer = optimizers.sgd(0.1)
    state = init_state(parameters(), optimizer, KEY)
    order = training.epoch_order(KEY, 0, 40, 8)
    assert " log(" in compiled_text(train_step(NET, LOSS, optimizer), state, X, LABELS)
    assert " log(" not in compiled_text(train_epoch(NET, LOSS, optimizer), state, (X, LABELS), order)


def test_nothing_recompiles():
    arguments = {"key": KEY, "epochs": 2, "batch_size": 8, "metrics": {"accuracy": funcnet.accuracy}, "progress": False}
    optimizer = optimizers.adam(0.01)
    data = (X, LABELS), (X[:9], LABELS[:9])
    compiled = {"epochs": training._run_epoch._cache_size, "scores": training._scores._cache_size}
    fit(NET, LOSS, optimizer, parameters(), *data, **arguments)
    before = {name: size() for name, size in compiled.items()}
    fit(NET, LOSS, optimizer, parameters(), *data, **arguments)
    assert {name: size() for name, size in compiled.items()} == before


def test_an_epoch_of_fit_donates_its_state():
    optimizer = optimizers.adam(0.01)
    state = init_state(parameters(), optimizer, KEY)
    training._run_epoch(NET, LOSS, optimizer, None, state, (X, LABELS), training.epoch_order(KEY, 0, 40, 8))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state, state.step)))


def test_step_lowers_for_cpu_cuda_and_tpu():
    optimizer = optimizers.adamw(0.01)
    step = jax.jit(train_step(NET, LOSS, optimizer))
    arguments = init_state(parameters(), optimizer, KEY), X, LABELS
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
        one, value = step(one, X, LABELS)
        many, sharded_value = step(many, x, labels)
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


# ---------------------------------------------------------------- fit


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


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion"])
def test_no_optimizer_moves_the_population(name):
    """Nor decay, nor a penalty: its gradient is zero, and it is no weight."""
    net = serial(dense(13), funcnet.batch_norm(), dense(5))
    optimizer = optimizers.chain(optimizers.add_decayed_weights(0.1), getattr(optimizers, name)(0.1))
    params = jax.tree.map(lambda p: p + 0.5, parameters(net))
    epoch = jax.jit(train_epoch(net, LOSS, optimizer, ops.l2(0.1)))
    after = epoch(init_state(params, optimizer, KEY), (X, LABELS), training.epoch_order(KEY, 0, 40, 8)).params
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), after[1], params[1])
    assert moved == {"gamma": True, "beta": True, "population": Population(False, False)}


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


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs >= 1"),
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


def test_gradients_have_the_dtype_of_their_parameters():
    """Inputs wider than the parameters promote all that comes after them."""
    with jax.numpy_dtype_promotion("standard"):
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), parameters())
        _, grads = value_and_grad(NET, LOSS)(low, X.astype(np.float32), LABELS, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}


def test_evaluate_wants_a_scalar_loss():
    with pytest.raises(ShapeError, match=r"scalar loss; got shape \(\d+,\)"):
        training.evaluate(NET, ops.sparse_softmax_cross_entropy(reduction="none"), {}, parameters(), (X, LABELS))
