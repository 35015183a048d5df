"""``fit``: trains, evaluates after each epoch, and stops early if asked to. It is a loop over ``train_epochs``."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..checkpoint import PathLike, named_leaves, saving
from ..devices import Places
from ..progress import epoch_progress
from ..types import Layer, Optimizer, Params, Rule, ShapeError, require_arrays, require_made, require_not_a_pair
from .calibration import calibrate, has_population
from .epochs import Data, epoch_order, examples_of, require_positive, train_epochs
from .step import TrainState, init_state, scalar, train_step

Metric = Callable[[Any, Any], Float[Array, ""]]
"""A mean over examples: (predictions, targets) -> scalar."""


def accuracy(predictions: Float[Array, "N K"], labels: Int[Array, " N"]) -> Float[Array, ""]:
    """The share of examples whose largest prediction is at the label. Raises ShapeError if they do not fit."""
    if labels.shape != predictions.shape[:-1]:
        raise ShapeError(
            f"accuracy expects predictions (N, K) and labels (N,); got {predictions.shape}, {labels.shape}"
        )
    return (predictions.argmax(axis=-1) == labels).mean()


@jax.jit(static_argnums=(0, 1, 2))
def _scores(net, loss, metrics, params, x, targets):
    predictions, _ = net.fwd(params, x)
    return [scalar(loss.fwd(predictions, targets)[0]), *(metric(predictions, targets) for metric in metrics)]


def evaluate(
    net: Layer, loss: Rule, metrics: Mapping[str, Metric], params: Params, data: Data, batch_size: int = 2048
) -> dict[str, float]:
    """``loss`` and each metric in inference, over ``data``, a batch at a time.

    Each is the mean of its values on the batches, weighted by their examples, so the loss must be a mean itself.
    Raises ValueError for a metric called "loss" or a batch_size below 1, ShapeError for a loss that is not a scalar.
    """
    if "loss" in metrics or batch_size < 1:
        raise ValueError(
            f'evaluate expects batch_size >= 1 and no metric called "loss"; got {batch_size}, {[*metrics]}'
        )
    require_not_a_pair("evaluate", params)
    require_arrays("evaluate's data", data)
    examples = examples_of(data)
    totals = np.zeros(1 + len(metrics))
    for start in range(0, examples, batch_size):
        x, targets = jax.tree.map(lambda a, s=start: a[s : s + batch_size], data)
        scores = _scores(net, loss, tuple(metrics.values()), params, x, targets)
        totals += np.array(scores, float) * min(batch_size, examples - start)
    return dict(zip(("loss", *metrics), (totals / examples).tolist(), strict=True))


CALIBRATED_ON = 10_000  # examples at most: they fix the mean of a channel to a hundredth of its deviation


@jax.jit(static_argnums=0)
def _calibrated(net, params, inputs, order, key):
    return calibrate(net, params, jax.tree.map(lambda a: a[order], inputs), key)


class Fit(NamedTuple):
    """The last (or, with ``patience``, the best) parameters, the last state, and a row of figures for each epoch."""

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
    checkpoints: PathLike | None = None,
    checkpoint_seconds: float = 10.0,
    places: Places | None = None,
) -> Fit:
    """Trains, an epoch in one call to the device, and evaluates after each, in inference.

    Before it evaluates, it calibrates batch normalisation on batches of the epoch just done, with dropout if the net
    has any: if a ``dropout`` stands below a ``batch_norm``, calibrate the result again; see ``calibrate``.

    A row of ``history`` has ``epoch``, ``seconds`` (of training alone), ``train_loss`` and ``train_NAME`` for each
    metric, on as many of the first training examples as there are for validation (else 10,000), and, if there is
    validation data, the same with ``validation_``. The penalty is trained with and not reported.
    ``patience``: stop after that many epochs without a smaller validation loss; the best epoch's parameters return.
    ``checkpoints``: a directory to save the run in, at the end and after an epoch that ends ``checkpoint_seconds``
    after the last save. A run that is there goes on; one killed at any moment ends with the same bits as one never
    killed.

    ``places``: where the arrays lie if there are several devices; see ``funcnet.devices``. A run may go on elsewhere.

    Raises ValueError for settings that cannot work, ShapeError for data that does not fit, and NonFiniteError after
    the first epoch that leaves a parameter NaN or infinite; it names the step and the leaf. Raises CheckpointError if
    ``checkpoints`` holds a run with other settings, naming the first that differs.
    """
    for name, value in (("epochs", epochs), ("patience", patience)):
        require_positive(name, value)
    if patience and validation is None:
        raise ValueError("patience watches the validation loss: give validation data too")
    for kind, made in ((Layer, net), (Rule, loss)):  # an optimizer may be optax's
        require_made("fit", kind, made)
    require_not_a_pair("fit", params)
    for name, given in {"params": params, "train": train, "validation": validation}.items():
        require_arrays(f"fit's {name}", given)
    train, validation = jax.tree.map(jnp.asarray, (train, validation))
    examples = examples_of(train)
    sample = jax.tree.map(lambda a: a[: 10_000 if validation is None else examples_of(validation)], train)
    scored = {"train": sample} if validation is None else {"train": sample, "validation": validation}
    step = train_step(net, loss, optimizer, penalty, aux=None)
    state, history = init_state(params, optimizer, key), list[dict[str, float]]()
    if places:
        state, step = places.put(state), places.keep(step)
    best = () if patience is None else state.params
    settings = {
        "batch_size": batch_size,
        "examples": examples,
        "patience": patience,
        "metrics": [*(metrics or {})],
        "key": jax.random.key_data(key).ravel().tolist(),
        "params": {name: f"{leaf.dtype} {leaf.shape}" for name, leaf in named_leaves(params).items()},
    }
    with saving(checkpoints, settings) as saved:
        if found := saved.restore((state, best)):
            (state, best), history = found
        with epoch_progress(epochs, progress, len(history)) as report:
            saved_at = time.perf_counter()
            while not _ended(history, epochs, patience):
                start, epoch = time.perf_counter(), len(history)
                state, _ = next(train_epochs(step, state, train, batch_size))  # from the calibrated state
                row = {"epoch": epoch + 1, "seconds": time.perf_counter() - start}
                state = _with_populations(net, state, train[0], epoch, batch_size)
                for split, data in scored.items():
                    scores = evaluate(net, loss, metrics or {}, state.params, data)
                    row |= {f"{split}_{name}": score for name, score in scores.items()}
                history.append(row)
                report(row)
                if patience is not None and _best_epoch(history) == epoch:
                    best = state.params
                if _ended(history, epochs, patience) or time.perf_counter() - saved_at >= checkpoint_seconds:
                    saved.save(int(state.step), (state, best), history)
                    saved_at = time.perf_counter()
    return Fit(state.params if patience is None else best, state, history)


def _with_populations(net: Layer, state: TrainState, inputs: Any, epoch: int, batch_size: int) -> TrainState:
    """The state, calibrated on batches of the epoch just done if anything in it is batch-normalised."""
    if not has_population(state.params):
        return state
    batches = epoch_order(state.key, epoch, examples_of(inputs), batch_size)[: max(1, CALIBRATED_ON // batch_size)]
    params = _calibrated(net, state.params, inputs, batches, jax.random.fold_in(state.key, state.step))
    return state._replace(params=params)


def _best_epoch(history: list[dict[str, float]]) -> int:
    return int(np.argmin([np.nan_to_num(row["validation_loss"], nan=np.inf) for row in history]))


def _ended(history: list[dict[str, float]], epochs: int, patience: int | None) -> bool:
    """Whether all epochs are done, or ``patience`` of them without a smaller validation loss."""
    impatient = patience is not None and bool(history) and len(history) - 1 - _best_epoch(history) >= patience
    return len(history) >= epochs or impatient
