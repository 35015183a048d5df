"""Optimizers: pure transformations of gradients, which compose.

    init(params)                      -> opt_state
    update(grads, opt_state, params)  -> (updates, opt_state)      params + updates are the next params

The signature, the hyperparameters and their defaults are optax's: an optax transformation may be part of a ``chain``
here, and one of these part of an ``optax.chain``. The small transformations come first; they turn a gradient g into a
direction of ascent. The named optimizers chain them, with ``scale_by_learning_rate`` last, which turns ascent into
descent. In the formulas t counts updates from 1, and everything is elementwise.

An update has the dtype of its gradient. Accumulators are float32 or wider, whatever the parameters are: in bfloat16 a
b2 of 0.999 would round to 1, and nothing would ever be forgotten. A state holds only arrays that share no buffer with
each other or with params, so that both may be donated.

A ``learning_rate`` is a number or a schedule. Every factory raises ValueError if an argument is out of range.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .ops.penalties import WEIGHTS, named
from .schedules import Schedule, as_schedule, require
from .types import Optimizer, Params


def apply_updates(params: Params, updates: Params) -> Params:
    """params + updates, in the dtype of params."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def chain(*optimizers: Optimizer) -> Optimizer:
    """Applies each to the updates of the one before; the state is the tuple of their states."""

    def init(params):
        return tuple(optimizer.init(params) for optimizer in optimizers)

    def update(grads, opt_state, params):
        states = []
        for optimizer, state in zip(optimizers, opt_state, strict=True):
            grads, state = optimizer.update(grads, state, params)
            states.append(state)
        return grads, tuple(states)

    return Optimizer(init, update)


def _filled(params: Params, value: float = 0.0) -> Params:
    """New accumulators: a constant in the shape and sharding of every leaf, in float32 or wider."""
    return jax.tree.map(
        lambda p: jnp.full_like(p, value, dtype=jnp.float32 if p.dtype.itemsize < 4 else p.dtype), params
    )


def _zero() -> Int[Array, ""]:
    return jnp.zeros((), jnp.int32)


def _average(average: Params, grads: Params, decay: float, power: int = 1) -> Params:
    """m ← decay · m + (1 − decay) · g^power, the exponential moving average."""
    return jax.tree.map(lambda m, g: decay * m + (1 - decay) * g.astype(m.dtype) ** power, average, grads)


# ---------------------------------------------------------------- learning rate


class LearningRateState(NamedTuple):
    count: Int[Array, ""]  # type: ignore[assignment]  # a tuple has a method of that name


def scale_by_learning_rate(learning_rate: float | Schedule) -> Optimizer:
    """u = −rate(t − 1) · g: the step that descends. A schedule counts from 0."""
    schedule = as_schedule(learning_rate)

    def init(params):
        return LearningRateState(_zero())

    def update(grads, opt_state, params):
        rate = schedule(opt_state.count)
        return jax.tree.map(lambda g: g * jnp.asarray(-rate, g.dtype), grads), LearningRateState(opt_state.count + 1)

    return Optimizer(init, update)


# ---------------------------------------------------------------- clipping and decay


def clip_by_global_norm(max_norm: float) -> Optimizer:
    """u = g · min(1, max_norm / ‖g‖), with ‖g‖ the Euclidean norm of all leaves together.

    Pascanu, Mikolov & Bengio (2013), algorithm 1. The norm is summed in the default float. If it is NaN, the
    gradient stays as it is, and NaN in the leaf where it arose; if it overflows, u = 0.
    Raises ValueError unless max_norm > 0.
    """
    require("(0, ∞)", max_norm=max_norm)

    def update(grads, opt_state, params):
        squares = [jnp.sum(g.astype(float) ** 2) for g in jax.tree.leaves(grads)]
        norm = jnp.sqrt(sum(squares))
        scale = jnp.where(norm > max_norm, max_norm / norm, 1)  # the quotient is not used if ‖g‖ = 0
        return jax.tree.map(lambda g: g * scale.astype(g.dtype), grads), opt_state

    return Optimizer(lambda params: (), update)


def add_decayed_weights(weight_decay: float, names: tuple[str, ...] = WEIGHTS) -> Optimizer:
    """u = g + weight_decay · w on the leaves whose name is in ``names``, and u = g on all others.

    By default weights and tables decay, but not biases, gains or statistics; ``ops.penalties.named`` chooses them.
    Before a direction is computed this is an l2 penalty, after it (as in ``adamw``) decoupled weight decay.
    """
    require("[0, ∞)", weight_decay=weight_decay)

    def update(grads, opt_state, params):
        def decayed(g, p, is_chosen):
            return g + (weight_decay * p).astype(g.dtype) if is_chosen else g

        return jax.tree.map(decayed, grads, params, named(params, names)), opt_state

    return Optimizer(lambda params: (), update)


# ---------------------------------------------------------------- momentum


class TraceState(NamedTuple):
    trace: Params


def trace(momentum: float, nesterov: bool = False) -> Optimizer:
    """v ← momentum · v + g;  u = v, or with ``nesterov`` u = g + momentum · v.

    Heavy ball: Polyak (1964). Nesterov's method (Sutskever et al. 2013) takes the gradient at the point ahead,
    θ + momentum · v; with that point for θ the step is this u (Bengio, Boulanger-Lewandowski & Pascanu 2013).
    """
    require("[0, 1)", momentum=momentum)

    def accumulate(g, v):
        return g.astype(v.dtype) + momentum * v

    def update(grads, opt_state, params):
        v = jax.tree.map(accumulate, grads, opt_state.trace)
        direction = jax.tree.map(accumulate, grads, v) if nesterov else v
        return jax.tree.map(lambda g, u: u.astype(g.dtype), grads, direction), TraceState(v)

    return Optimizer(lambda params: TraceState(_filled(params)), update)


# ---------------------------------------------------------------- adaptive directions


class RssState(NamedTuple):
    sum_of_squares: Params


def scale_by_rss(initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Optimizer:
    """s ← s + g²;  u = g / √(s + eps), with s = initial_accumulator_value at first."""
    require("[0, ∞)", initial_accumulator_value=initial_accumulator_value)
    require("(0, ∞)", eps=eps)

    def update(grads, opt_state, params):
        sums = jax.tree.map(lambda s, g: s + g.astype(s.dtype) ** 2, opt_state.sum_of_squares, grads)
        return _over_root(grads, sums, eps), RssState(sums)

    return Optimizer(lambda params: RssState(_filled(params, initial_accumulator_value)), update)


class RmsState(NamedTuple):
    nu: Params


def scale_by_rms(decay: float = 0.9, eps: float = 1e-8) -> Optimizer:
    """ν ← decay · ν + (1 − decay) · g²;  u = g / √(ν + eps)."""
    require("[0, 1)", decay=decay)
    require("(0, ∞)", eps=eps)

    def update(grads, opt_state, params):
        nu = _average(opt_state.nu, grads, decay, power=2)
        return _over_root(grads, nu, eps), RmsState(nu)

    return Optimizer(lambda params: RmsState(_filled(params)), update)


def _over_root(grads: Params, squares: Params, eps: float) -> Params:
    """g / √(s + eps)."""
    return jax.tree.map(lambda g, s: (g.astype(s.dtype) / jnp.sqrt(s + eps)).astype(g.dtype), grads, squares)


class AdamState(NamedTuple):
    count: Int[Array, ""]  # type: ignore[assignment]
    mu: Params
    nu: Params


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """μ ← b1 μ + (1 − b1) g,  ν ← b2 ν + (1 − b2) g²;  u = μ̂ / (√ν̂ + eps), with μ̂ = μ / (1 − b1ᵗ), ν̂ = ν / (1 − b2ᵗ).

    Kingma & Ba (2015), algorithm 1. Both averages start at 0; the divisions undo that bias.
    """
    require("[0, 1)", b1=b1, b2=b2)
    require("(0, ∞)", eps=eps)

    def init(params):
        return AdamState(_zero(), _filled(params), _filled(params))

    def update(grads, opt_state, params):
        count = opt_state.count + 1
        mu, nu = _average(opt_state.mu, grads, b1), _average(opt_state.nu, grads, b2, power=2)
        weight1, weight2 = _weight(b1, count), _weight(b2, count)

        def direction(g, m, v):
            m, v = m / weight1.astype(m.dtype), v / weight2.astype(v.dtype)
            return (m / (jnp.sqrt(v) + eps)).astype(g.dtype)

        return jax.tree.map(direction, grads, mu, nu), AdamState(count, mu, nu)

    return Optimizer(init, update)


def _weight(b: float, count: Int[Array, ""]) -> Float[Array, ""]:
    """1 − bᵗ, the sum of the weights in an average of t terms, as −expm1(t log b).

    In float32 the plain form is wrong by 1e-5 at b = 0.999, t = 1 (a difference of numbers close to 1), and by more for
    b closer to 1, where rounding b alone shifts bᵗ. The logarithm is taken in float64, on the host.
    """
    return -jnp.expm1(count.astype(float) * (math.log(b) if b else -math.inf))


class LionState(NamedTuple):
    mu: Params


def scale_by_lion(b1: float = 0.9, b2: float = 0.99) -> Optimizer:
    """u = sign(b1 μ + (1 − b1) g);  μ ← b2 μ + (1 − b2) g."""
    require("[0, 1)", b1=b1, b2=b2)

    def update(grads, opt_state, params):
        direction = jax.tree.map(lambda g, c: jnp.sign(c).astype(g.dtype), grads, _average(opt_state.mu, grads, b1))
        return direction, LionState(_average(opt_state.mu, grads, b2))

    return Optimizer(lambda params: LionState(_filled(params)), update)


# ---------------------------------------------------------------- the named optimizers


def sgd(learning_rate: float | Schedule) -> Optimizer:
    """Stochastic gradient descent: u = −rate · g (Robbins & Monro 1951)."""
    return scale_by_learning_rate(learning_rate)


def momentum(learning_rate: float | Schedule, momentum: float = 0.9) -> Optimizer:
    """Gradient descent with momentum: ``trace`` (Polyak 1964)."""
    return chain(trace(momentum), scale_by_learning_rate(learning_rate))


def nesterov(learning_rate: float | Schedule, momentum: float = 0.9) -> Optimizer:
    """Nesterov's accelerated gradient: ``trace`` with nesterov=True (Sutskever et al. 2013)."""
    return chain(trace(momentum, nesterov=True), scale_by_learning_rate(learning_rate))


def adagrad(learning_rate: float | Schedule, initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Optimizer:
    """Adagrad: ``scale_by_rss`` (Duchi, Hazan & Singer 2011, the diagonal form)."""
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


def rmsprop(learning_rate: float | Schedule, decay: float = 0.9, eps: float = 1e-8) -> Optimizer:
    """RMSProp: ``scale_by_rms`` (Tieleman & Hinton 2012, lecture 6.5); eps is under the root."""
    return chain(scale_by_rms(decay, eps), scale_by_learning_rate(learning_rate))


def adam(learning_rate: float | Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam: ``scale_by_adam`` (Kingma & Ba 2015, algorithm 1)."""
    return chain(scale_by_adam(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamw(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
    names: tuple[str, ...] = WEIGHTS,
) -> Optimizer:
    """Adam with decoupled weight decay: u = −rate · (Adam's direction + weight_decay · w).

    Loshchilov & Hutter (2019), algorithm 2, with the decay multiplied by the whole learning rate, α as well as its
    schedule. Only the leaves whose name is in ``names`` decay; optax decays all by default.
    """
    return chain(
        scale_by_adam(b1, b2, eps), add_decayed_weights(weight_decay, names), scale_by_learning_rate(learning_rate)
    )


def lion(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
    names: tuple[str, ...] = WEIGHTS,
) -> Optimizer:
    """Lion: u = −rate · (``scale_by_lion``'s sign + weight_decay · w) (Chen et al. 2023, algorithm 2).

    Every element moves by the full rate, so the paper takes a rate 3 to 10 times smaller than Adam's. The same leaves
    decay as in ``adamw``.
    """
    return chain(scale_by_lion(b1, b2), add_decayed_weights(weight_decay, names), scale_by_learning_rate(learning_rate))
