"""Epochs: a step scanned over batches in one call to the device, and the generator that does so until told to stop."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

from ..types import ShapeError
from .step import Step, TrainState

Data = Any
"""A pytree of arrays whose first axis counts the examples: (inputs, targets), either of them a pytree."""


class NonFiniteError(FloatingPointError):
    """Training met NaN or infinity; the message, ``step`` and ``leaf`` say where first."""

    def __init__(self, message: str, step: int | None, leaf: str | None):
        super().__init__(message)
        self.step, self.leaf = step, leaf


def train_epoch(step: Step):
    """``(state, data, order) -> (state, auxes)``: ``step`` on the batch of every row of ``order``, in one scan.

    ``order`` (steps, batch) holds indices of examples; the auxes of all steps are stacked on a new first axis. It is
    pure: jit it. XLA does not compute an aux that the caller drops, the loss for example.
    """

    def epoch(state: TrainState, data: Data, order: Int[Array, "steps *batch"]) -> tuple[TrainState, Any]:
        def body(state, rows):
            return step(state, jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data))

        return lax.scan(body, state, order)

    return epoch


def epoch_order(key, epoch: int, examples: int, batch_size: int) -> np.ndarray:
    """A permutation of the examples as int32 (steps, batch_size), made on the host from the key and the epoch's number.

    Examples that do not fill a batch wait for another epoch. Raises ValueError if not one batch can be filled.
    """
    steps = steps_of(examples, batch_size)
    rng = np.random.default_rng([*np.asarray(jax.random.key_data(key)).ravel().tolist(), epoch])
    return rng.permutation(examples).astype(np.int32)[: steps * batch_size].reshape(steps, batch_size)


def steps_of(examples: int, batch_size: int) -> int:
    """The steps of an epoch. Raises ValueError if not one batch can be filled."""
    if not (isinstance(batch_size, int | np.integer) and 1 <= batch_size <= examples):
        raise ValueError(f"batch_size lies between 1 and the {examples} training examples; got {batch_size!r}")
    return examples // batch_size


def train_epochs(
    step: Step,
    state: TrainState,
    data: Data | Iterator[Any],
    batch_size: int | None = None,
    *,
    epochs: int | None = None,
    every: int | None = None,
) -> Iterator[tuple[TrainState, Any]]:
    """Trains, and yields (state, auxes) after each epoch: the auxes of its steps, stacked on a new first axis.

    ``data`` are arrays, of which every epoch takes ``batch_size`` examples a step in an order of its own, or, without
    ``batch_size``, an iterator of batches, one of which is taken for each yield. ``every``: yield whenever
    ``state.step`` is a multiple of that many steps, instead of after each epoch (or batch).
    It stops after ``epochs`` epochs, counted from step 0, or when the iterator ends; otherwise never.

    It begins where ``state.step`` says, in the middle of an epoch too: a run that goes on from a state that was yielded
    ends with parameters equal to the bit. An iterator has to begin there itself. Yielded states stay valid.

    Raises NonFiniteError, with the step and the leaf, if a parameter becomes NaN or infinite; of a ``train_step`` or
    ``gradient_step`` it says whether gradient or update went first. Raises ShapeError for arrays whose first axes
    differ, TypeError for arrays without a batch_size, ValueError if no batch can be filled or a step does not count.
    """
    for name, value in (("epochs", epochs), ("every", every)):
        require_positive(name, value)
    if batch_size is None:
        if not isinstance(data, Iterator):
            raise TypeError(f"give a batch_size for arrays, or an iterator of batches; got a {type(data).__name__}")
        if epochs is not None:
            raise ValueError("epochs are counted on arrays, with a batch_size; an iterator of batches ends by itself")
        stretches = _of_iterator(data, every or 1)
    else:
        stretches = _of_arrays(jax.tree.map(jnp.asarray, data), batch_size, state, epochs, every)
    for batches, order in stretches:
        before, number = state, int(state.step)
        with jax.debug_nans(False):  # it would run the epoch again on arrays that were donated, and name no step
            state, auxes, all_finite = _run(step, jax.tree.map(jnp.copy, state), batches, order)
            if not all_finite:
                raise _first_non_finite(step, before, batches, order)
        if int(state.step) != number + len(order):
            raise ValueError(f"a step adds 1 to state.step; {len(order)} steps went from {number} to {int(state.step)}")
        yield state, auxes


def _of_arrays(data: Data, batch_size: int, state: TrainState, epochs: int | None, every: int | None):
    """(data, rows) of each stretch from ``state.step`` on: up to the next multiple of ``every``, or the epoch's end."""
    examples = examples_of(data)
    steps = steps_of(examples, batch_size)
    start, end = int(state.step), None if epochs is None else epochs * steps
    while end is None or start < end:
        stop = (start // (every or steps) + 1) * (every or steps)
        stop = stop if end is None else min(stop, end)
        first, last = start // steps, (stop - 1) // steps
        order = np.concatenate([epoch_order(state.key, e, examples, batch_size) for e in range(first, last + 1)])
        yield data, order[start - first * steps : stop - first * steps]
        start = stop


def _of_iterator(batches: Iterator[Any], every: int):
    """``every`` batches at a time, stacked, so that they are trained on in one call; the last may be fewer."""
    while stretch := list(itertools.islice(batches, every)):
        shapes = [jax.tree.map(np.shape, batch) for batch in stretch]
        if any(shape != shapes[0] for shape in shapes):
            raise ShapeError(f"every={every} trains on batches of one shape in one call; got {shapes}")
        yield jax.tree.map(lambda *leaves: jnp.stack(leaves), *stretch), np.arange(len(stretch), dtype=np.int32)


def _epoch(step, state, data, order) -> tuple[TrainState, Any, Bool[Array, ""]]:
    state, auxes = train_epoch(step)(state, data, order)
    return state, auxes, jax.tree.reduce(jnp.logical_and, finite(state.params), jnp.array(True))


_run = jax.jit(_epoch, static_argnums=0, donate_argnums=1)  # the step is compared by identity: see train_step


def require_positive(name: str, value: int | None) -> None:
    """Raises ValueError unless the value is None or at least 1."""
    if value is not None and not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def examples_of(data: Data) -> int:
    """How many examples there are. Raises ShapeError unless all arrays agree on a number above 0."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(data)]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise ShapeError(f"inputs and targets need one first axis, the examples; got shapes {shapes}")
    return sizes.pop()


def finite(tree):
    """For each leaf, whether all of it is finite."""
    return jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), tree)


@jax.jit(static_argnums=0)
def _examined(step, state, batch):
    """The next state, the loss if it is known, and for each parameter whether gradient and update are finite."""
    loss, grads = step.gradient(state, batch) if hasattr(step, "gradient") else (None, None)
    state, _ = step(state, batch)
    return state, loss, {"gradient": finite(grads), "update": finite(state.params)}


def _first_non_finite(step: Step, state: TrainState, data: Data, order: np.ndarray) -> NonFiniteError:
    """Runs the epoch again, a step at a time, until something is not finite: a step is pure, so it happens again."""
    for rows in order:
        number = int(state.step)
        state, loss, trees = _examined(step, state, jax.tree.map(lambda a, rows=rows: a[rows], data))
        bad = [
            (what, "params" + jax.tree_util.keystr(path))
            for what, tree in trees.items()
            for path, fine in jax.tree_util.tree_leaves_with_path(tree)
            if not fine
        ]
        if bad:
            what, leaf = bad[0]
            place = leaf if loss is None else f"the {what} of {leaf}"
            value = "" if loss is None else f", the loss is {float(loss)}"
            return NonFiniteError(
                f"step {number}: {place} is not finite{value}; try a smaller learning rate or clip_by_global_norm; "
                f"look for NaN, labels of no class or tokens out of range in the data",
                number,
                leaf,
            )
    return NonFiniteError(
        "parameters became non-finite in the compiled epoch, but not when its steps were replayed; is the step pure?",
        None,
        None,
    )
