"""The one thing that trains: ``Step = (state, batch) -> (state, aux)``.

``train_step`` makes one from a network, a loss and an optimizer, without autodiff: ``bwd`` is written out for every
part. Any other function of that form trains as well.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..optimizers import apply_updates
from ..types import (
    Layer,
    Optimizer,
    Params,
    Rule,
    ShapeError,
    at_least_float32,
    memoized,
    require_key,
    require_made,
    require_not_a_pair,
)

Batch = Any
"""A pytree of arrays whose first axis counts the examples; of ``train_step`` it is (x, targets)."""


class TrainState(NamedTuple):
    """Everything a run needs to go on; a network of your own may hold any pytree in ``params`` and ``opt_state``.

    ``step`` counts the batches so far, from 0. The random key of a step is ``key`` folded with ``step``, and ``key``
    also fixes the order of the examples, so a run that goes on from a saved state repeats what it would have done.
    """

    params: Params
    opt_state: Any
    step: Int[Array, ""]
    key: Any


Step = Callable[[TrainState, Batch], tuple[TrainState, Any]]
"""One update: the next state, with ``step`` one higher, and whatever else is worth returning, the aux."""

Aux = Callable[[Float[Array, ""], Params], Any]
"""(loss, grads) to what a step returns beside the state."""


def init_state(params: Params, optimizer: Optimizer, key) -> TrainState:
    """The state before the first step. It holds copies: a jitted step may donate it and the caller's arrays live on."""
    require_not_a_pair("init_state", params)
    if not hasattr(optimizer, "init"):  # optax's have it too
        require_made("training", Optimizer, optimizer)
    require_key("training", key)
    state = TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)
    return jax.tree.map(jnp.copy, state)


def value_and_grad(net: Layer, loss: Rule, penalty: Rule | None = None):
    """``(params, x, targets, key) -> (value, dparams)``: what ``jax.value_and_grad`` would return, by the chain rule.

    y = net(params, x),  L = loss(y, targets) + penalty(params);
    dy = ∂loss/∂y,  dparams = (∂net/∂params)ᵀ dy + ∂penalty/∂params.
    ``key=None`` is inference: no dropout. Under jit, an unused value is never computed.
    """

    def run(params: Params, x, targets, key) -> tuple[Float[Array, ""], Params]:
        predictions, net_residuals = net.fwd(params, x, key)
        value, loss_residuals = loss.fwd(predictions, targets)
        dy, _ = loss.bwd(loss_residuals, jnp.ones_like(scalar(value)))
        dparams, _ = net.bwd(net_residuals, dy)
        if penalty is not None:
            extra, penalty_residuals = penalty.fwd(params)
            (dpenalty,) = penalty.bwd(penalty_residuals, jnp.ones_like(extra))
            value, dparams = value + extra, jax.tree.map(jnp.add, dparams, dpenalty)
        # inputs wider than the parameters promote everything after them; a gradient keeps its parameter's dtype
        return value, jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)

    return run


def scalar(value: Float[Array, "*R"]) -> Float[Array, ""]:
    """The value itself. Raises ShapeError unless it is a scalar."""
    if value.shape:
        raise ShapeError(f"training expects a scalar loss; got shape {value.shape} (is its reduction 'none'?)")
    return value


def accumulated(gradient, parts: int):
    """``gradient`` of a batch as the mean over ``parts`` equal parts of it, in the memory of one part.

    It wraps a ``value_and_grad``, and is one: ``gradient_step(accumulated(value_and_grad(net, loss), 4), optimizer)``.
    For a loss that is a mean over examples L = (1/parts) Σ L_part, so value and gradient are those of the whole batch
    to rounding; batch normalisation sees one part at a time, and each part has its own dropout. Sums are in float32 or
    wider. Raises ValueError unless parts is at least 1, ShapeError if it does not divide the batch.
    """
    if parts < 1:
        raise ValueError(f"a gradient is accumulated over at least one part; got {parts}")

    def split(a):
        if a.shape[0] % parts:
            raise ShapeError(f"{parts} equal parts of a batch of {a.shape[0]} examples are asked for; it has to divide")
        return a.reshape(parts, a.shape[0] // parts, *a.shape[1:])

    def run(params: Params, x, targets, key) -> tuple[Float[Array, ""], Params]:
        def part(number, examples):
            return gradient(params, *examples, None if key is None else jax.random.fold_in(key, number))

        def add(total, numbered):
            return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, part(*numbered)), None

        parts_of = jax.tree.map(split, (x, targets))
        found = jax.eval_shape(part, 0, jax.tree.map(lambda a: a[0], parts_of))
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, at_least_float32(a.dtype)), found)
        total, _ = lax.scan(add, zero, (jnp.arange(parts), parts_of))
        return jax.tree.map(lambda t, a: (t / parts).astype(a.dtype), total, found)

    return run


def loss_only(loss, grads):
    """The aux of ``train_step`` unless told otherwise."""
    return loss


def gradient_step(gradient, optimizer: Optimizer, aux: Aux | None = loss_only) -> Step:
    """``(state, (x, targets)) -> (state, aux(loss, grads))``, where ``gradient`` is, or wraps, a ``value_and_grad``.

    (loss, g) = gradient(params, x, targets, key),  params ← params + optimizer(g). The step carries its own gradient as
    ``step.gradient(state, batch)``, with which ``train_epochs`` explains a NaN.
    """

    def own_gradient(state: TrainState, batch: Batch) -> tuple[Float[Array, ""], Params]:
        x, targets = batch
        return gradient(state.params, x, targets, jax.random.fold_in(state.key, state.step))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        loss, grads = own_gradient(state, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1, state.key), aux and aux(loss, grads)

    step.gradient = own_gradient  # type: ignore[attr-defined]
    return step


@memoized
def train_step(
    net: Layer, loss: Rule, optimizer: Optimizer, penalty: Rule | None = None, aux: Aux | None = loss_only
) -> Step:
    """``(state, (x, targets)) -> (state, aux(loss, grads))``: one step of ``optimizer`` on one batch, to be jitted.

    By default the aux is the loss with its penalty, a scalar. ``aux=lambda loss, grads: global_norm(grads)``, for
    example, returns the norm of the gradient instead, and ``aux=None`` nothing. Equal arguments give the same function,
    so whatever is compiled for it is compiled once.
    """
    return gradient_step(value_and_grad(net, loss, penalty), optimizer, aux)
