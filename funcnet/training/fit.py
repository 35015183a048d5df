"""Training: the value and gradient of a network by its own backward, a step, an epoch in one jit, and ``fit``.

Nothing here calls autodiff, and nothing needs to: ``bwd`` is written out for every part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..optimizers import apply_updates
from ..progress import epoch_progress
from ..types import Layer, Optimizer, Params, Rule, ShapeError
from .calibration import calibrate

Data = tuple[Any, Any]
"""Inputs and targets: pytrees of arrays whose first axis counts the examples."""

Metric = Callable[[Any, Any], Float[Array, ""]]
"""A mean over examples: (predictions, targets) -> scalar."""


class TrainState(NamedTuple):
    """All that a run needs to go on. ``step`` counts from 0; the key of a step is ``key`` folded with it."""

    params: Params
    opt_state: Any
    step: Int[Array, ""]
    key: Any


class NonFiniteError(FloatingPointError):
    """Training met NaN or infinity; the message, ``step`` and ``leaf`` say where first."""

    def __init__(self, message: str, step: int | None, leaf: str | None):
        super().__init__(message)
        self.step, self.leaf = step, leaf


def init_state(params: Params, optimizer: Optimizer, key) -> TrainState:
    """The state before the first step. It holds copies: a jitted step may donate it and the caller's arrays live on."""
    state = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)
    return jax.tree.map(jnp.copy, state)


def value_and_grad(net: Layer, loss: Rule, penalty: Rule | None = None):
    """``(params, x, targets, key) -> (value, dparams)``: what ``jax.value_and_grad`` would return, by the chain rule.

    y = net(params, x),  L = loss(y, targets) + penalty(params);
    dy = ∂loss/∂y,  dparams = (∂net/∂params)ᵀ dy + ∂penalty/∂params.
    ``key=None`` is inference: no dropout. The value is a by-product; under jit, who does not use it does not pay.
    """

    def run(params: Params, x, targets, key) -> tuple[Float[Array, ""], Params]:
        predictions, net_residuals = net.fwd(params, x, key)
        value, loss_residuals = loss.fwd(predictions, targets)
        _scalar(value)
        dy, _ = loss.bwd(loss_residuals, jnp.ones_like(value))
        dparams, _ = net.bwd(net_residuals, dy)
        if penalty is not None:
            extra, penalty_residuals = penalty.fwd(params)
            (dpenalty,) = penalty.bwd(penalty_residuals, jnp.ones_like(extra))
            value, dparams = value + extra, jax.tree.map(jnp.add, dparams, dpenalty)
        # where inputs are wider than parameters, everything after them is too: a gradient is as its parameter is
        return value, jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)

    return run


def _scalar(value: Float[Array, "*R"]) -> Float[Array, ""]:
    if value.shape:
        raise ShapeError(f"training wants a scalar loss; got shape {value.shape} (is its reduction 'none'?)")
    return value


def train_step(net: Layer, loss: Rule, optimizer: Optimizer, penalty: Rule | None = None):
    """``(state, x, targets) -> (state, value)``: one step of ``optimizer`` on one batch; pure, to be jitted."""
    gradient = value_and_grad(net, loss, penalty)

    def step(state: TrainState, x, targets) -> tuple[TrainState, Float[Array, ""]]:
        key = jax.random.fold_in(state.key, state.step)
        value, grads = gradient(state.params, x, targets, key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return TrainState(apply_updates(state.params, updates), opt_state, state.step + 1, state.key), value

    return step


def train_epoch(net: Layer, loss: Rule, optimizer: Optimizer, penalty: Rule | None = None):
    """``(state, data, order) -> state``: a step for every row of ``order`` (steps, batch), the indices of its examples.

    One scan, so that a whole epoch is one call to the device; the loss is not computed, as nobody reads it.
    """
    step = train_step(net, loss, optimizer, penalty)

    def epoch(state: TrainState, data: Data, order: Int[Array, "steps batch"]) -> TrainState:
        def body(state, rows):
            x, targets = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data)
            return step(state, x, targets)[0], None

        return lax.scan(body, state, order)[0]

    return epoch


def epoch_order(key, epoch: int, examples: int, batch_size: int) -> np.ndarray:
    """A permutation of the examples as int32 (steps, batch_size), made on the host from the key and the epoch's number.

    What does not fill a batch waits for another epoch. Raises ValueError where not one batch can be filled.
    """
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size lies between 1 and the {examples} training examples; got {batch_size}")
    rng = np.random.default_rng([*np.asarray(jax.random.key_data(key)).ravel().tolist(), epoch])
    steps = examples // batch_size
    return rng.permutation(examples).astype(np.int32)[: steps * batch_size].reshape(steps, batch_size)


def accuracy(predictions: Float[Array, "N K"], labels: Int[Array, " N"]) -> Float[Array, ""]:
    """The share of examples whose largest prediction is at the label. Raises ShapeError where they do not fit."""
    if labels.shape != predictions.shape[:-1]:
        raise ShapeError(f"accuracy wants predictions (N, K) and labels (N,); got {predictions.shape}, {labels.shape}")
    return (predictions.argmax(axis=-1) == labels).mean()


# The network, the loss and the optimizer are static arguments: tuples of functions, compared by identity. So a second
# `fit` of the same ones compiles nothing.


def _epoch(net, loss, optimizer, penalty, state, data, order):
    state = train_epoch(net, loss, optimizer, penalty)(state, data, order)
    return state, jax.tree.reduce(jnp.logical_and, _finite(state.params), jnp.array(True))


_run_epoch = jax.jit(_epoch, static_argnums=(0, 1, 2, 3), donate_argnums=4)


CALIBRATED_ON = 10_000  # examples at most: the mean of a channel is then known to a hundredth of its deviation


@jax.jit(static_argnums=0)
def _calibrated(net, state, inputs, order):
    batches = jax.tree.map(lambda a: a[order], inputs)
    params = calibrate(net, state.params, batches, jax.random.fold_in(state.key, state.step))
    return state._replace(params=params)


@jax.jit(static_argnums=(0, 1, 2))
def _scores(net, loss, metrics, params, x, targets):
    predictions, _ = net.fwd(params, x)
    return [_scalar(loss.fwd(predictions, targets)[0]), *(metric(predictions, targets) for metric in metrics)]


def evaluate(
    net: Layer, loss: Rule, metrics: Mapping[str, Metric], params: Params, data: Data, batch_size: int = 2048
) -> dict[str, float]:
    """``loss`` and each metric in inference, over ``data``, which is taken a batch at a time.

    Each is the mean of its values on the batches, weighed by their examples: so a loss must be a mean itself.
    Raises ValueError for a metric called "loss", or a batch of none, ShapeError for a loss that is no scalar.
    """
    if "loss" in metrics or batch_size < 1:
        raise ValueError(f'evaluate wants batch_size >= 1 and no metric called "loss"; got {batch_size}, {[*metrics]}')
    examples = _examples(data)
    totals = np.zeros(1 + len(metrics))
    for start in range(0, examples, batch_size):
        x, targets = jax.tree.map(lambda a, s=start: a[s : s + batch_size], data)
        scores = _scores(net, loss, tuple(metrics.values()), params, x, targets)
        totals += np.array(scores, float) * min(batch_size, examples - start)
    return dict(zip(("loss", *metrics), (totals / examples).tolist(), strict=True))


class Fit(NamedTuple):
    """What ``fit`` returns: the last (or, with ``patience``, the best) parameters, the last state, a row per epoch."""

    params: Params
    state: TrainState
    history: list[dict[str, float]]


def fit(
    net: Layer,
    loss: Rule,
    optimizer: Optimizer,
    params: Params,
    train: Data,
    validation: Data | None = None,
    *,
    key,
    epochs: int,
    batch_size: int,
    metrics: Mapping[str, Metric] | None = None,
    penalty: Rule | None = None,
    patience: int | None = None,
    progress: bool = True,
) -> Fit:
    """Trains, an epoch in one call to the device, and evaluates after each, in inference.

    Before that it calibrates what is batch-normalised, on batches of the epoch just done, with dropout where the net
    has it: where a ``dropout`` stands below a ``batch_norm``, ``calibrate`` the result once more, as said there.

    A row of ``history`` has ``epoch``, ``seconds`` (training alone), ``train_loss`` and ``train_NAME`` for each metric,
    on as many of the first training examples as there are for validation (else 10,000), and, where there is validation
    data, the same with ``validation_``. The penalty is trained with and not reported.
    ``patience``: stop after that many epochs without a smaller validation loss; the best epoch's parameters return.

    Raises ValueError for settings that cannot work, ShapeError for data that does not fit, and NonFiniteError after
    the first epoch that leaves a parameter NaN or infinite; it names the step and the leaf.
    """
    if epochs < 1 or (patience is not None and (validation is None or patience < 1)):
        raise ValueError("fit wants epochs >= 1, and with patience >= 1 also validation data")
    train, validation = jax.tree.map(jnp.asarray, (train, validation))
    examples = _examples(train)
    sample = jax.tree.map(lambda a: a[: 10_000 if validation is None else _examples(validation)], train)
    scored = {"train": sample} if validation is None else {"train": sample, "validation": validation}
    state = init_state(params, optimizer, key)
    history: list[dict[str, float]] = []
    best = state.params
    with epoch_progress(epochs, progress) as report:
        for epoch in range(epochs):
            start = time.perf_counter()
            order = epoch_order(key, epoch, examples, batch_size)
            before = jax.tree.map(jnp.copy, state)  # the epoch's own input is donated to it
            with jax.debug_nans(False):  # it would run the epoch again on what was donated, and name no step
                state, finite = _run_epoch(net, loss, optimizer, penalty, state, train, order)
                if not finite:
                    raise _first_non_finite(net, loss, optimizer, penalty, before, train, order)
            row = {"epoch": epoch + 1, "seconds": time.perf_counter() - start}
            state = _calibrated(net, state, train[0], order[: max(1, CALIBRATED_ON // batch_size)])
            for split, data in scored.items():
                scores = evaluate(net, loss, metrics or {}, state.params, data)
                row |= {f"{split}_{name}": score for name, score in scores.items()}
            history.append(row)
            report(row)
            if patience is not None:
                best_epoch = int(np.argmin([np.nan_to_num(row["validation_loss"], nan=np.inf) for row in history]))
                if best_epoch == epoch:
                    best = jax.tree.map(jnp.copy, state.params)
                if epoch - best_epoch >= patience:
                    break
    return Fit(state.params if patience is None else best, state, history)


def _examples(data: Data) -> int:
    shapes = [leaf.shape for leaf in jax.tree.leaves(data)]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise ShapeError(f"inputs and targets want one first axis, the examples; got shapes {shapes}")
    return sizes.pop()


def _finite(tree):
    return jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), tree)


@jax.jit(static_argnums=(0, 1, 2, 3))
def _watched_step(net, loss, optimizer, penalty, state, x, targets):
    _, grads = value_and_grad(net, loss, penalty)(state.params, x, targets, jax.random.fold_in(state.key, state.step))
    state, value = train_step(net, loss, optimizer, penalty)(state, x, targets)
    return state, value, {"gradient": _finite(grads), "update": _finite(state.params)}


def _first_non_finite(net, loss, optimizer, penalty, state, data, order) -> NonFiniteError:
    """Runs the epoch again, a step at a time, until something is not finite: a step is pure, so it happens again."""
    for rows in order:
        number = int(state.step)
        x, targets = jax.tree.map(lambda a, rows=rows: a[rows], data)
        state, value, finite = _watched_step(net, loss, optimizer, penalty, state, x, targets)
        bad = [path for path, ok in jax.tree_util.tree_leaves_with_path(finite) if not ok]
        if bad:
            leaf = "params" + jax.tree_util.keystr(bad[0][1:])
            return NonFiniteError(
                f"step {number}: the {bad[0][0].key} of {leaf} is not finite, the loss is {float(value)}; "
                f"try a smaller learning rate or clip_by_global_norm; look for NaN, labels of no class or tokens out "
                f"of range in the data",
                number,
                leaf,
            )
    return NonFiniteError(
        "an epoch left parameters that are not finite; step by step it did not: is it pure?", None, None
    )
