"""Recurrent cells over a sequence."""

import math

import jax
import jax.numpy as jnp

from .. import initializers, ops
from ..types import Layer, Rule, ShapeError, require_key, require_shape
from .lifting import require


def _recurrent(
    rule: Rule, name: str, features: int, gates: tuple[int, ...], states: int = 1, state_bias: bool = False
) -> Layer:
    """A cell over a sequence, starting from zero states; the last states are not returned."""
    if features < 1:
        raise ValueError(f"{name} expects at least one feature; got {features}")
    name, width = f"{name}({features})", (*gates, features)
    inner = {"w": (features, *width)} | ({"b": (features,)} if state_bias else {})

    def init(key, in_shape):
        require_shape(name, in_shape)
        if len(in_shape) < 2:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., T, I)")

        def w(key, rows):
            return initializers.lecun_normal()(key, (rows, math.prod(width))).reshape(rows, *width)

        w_key, u_key = jax.random.split(require_key(name, key))
        params = {"input": {"w": w(w_key, in_shape[-1]), "b": jnp.zeros(width)}, "state": {"w": w(u_key, features)}}
        if state_bias:
            params["state"]["b"] = jnp.zeros(features)
        return params, (*in_shape[:-1], features)

    def fwd(params, x, key=None):
        require(name, params, x, input={"w": (None, *width), "b": width}, state=inner)
        wanted = len(params["input"]["w"])
        if x.ndim < 2 or x.shape[-1] != wanted:
            raise ShapeError(f"{name} got x of shape {x.shape}, expects (N, ..., T, {wanted})")
        start = [jnp.zeros((*x.shape[:-2], features), x.dtype)] * states
        biases = [part["b"] for part in (params["input"], params["state"]) if "b" in part]
        (y, *_), residuals = rule.fwd(x, *start, params["input"]["w"], params["state"]["w"], *biases)
        return y, residuals

    def bwd(residuals, dy):
        last = [jnp.zeros((*dy.shape[:-2], features), dy.dtype)] * states
        dx, *rest = rule.bwd(residuals, (dy, *last))
        dw, du, db, *dc = rest[states:]
        return {"input": {"w": dw, "b": db}, "state": {"w": du} | ({"b": dc[0]} if dc else {})}, dx

    return Layer(init, fwd, bwd, name)


def rnn(features: int) -> Layer:
    """h_t = tanh(x_t w + h_{t−1} u + b) from h_0 = 0: (*S, T, I) to all states (*S, T, ``features``).

    Params ``{"input": {"w": w, "b": b}, "state": {"w": u}}``: both weights decay, and start LeCun-normal.
    Like ``lstm`` and ``gru`` it raises ValueError unless ``features`` is at least 1. ``init`` raises ShapeError for an
    input without a time axis, and ``fwd`` for another I than it was initialised with.
    """
    return _recurrent(ops.rnn, "rnn", features, ())


def lstm(features: int) -> Layer:
    """Long short-term memory from zero states: (*S, T, I) to all h (*S, T, ``features``); params as in ``rnn``."""
    return _recurrent(ops.lstm, "lstm", features, (4,), states=2)


def gru(features: int) -> Layer:
    """Gated recurrent units from h_0 = 0: (*S, T, I) to all states (*S, T, ``features``).

    Params as in ``rnn``, and ``{"state": {"b": c}}``: see ``ops.gru``.
    """
    return _recurrent(ops.gru, "gru", features, (3,), state_bias=True)
