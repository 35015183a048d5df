"""Layers: rules lifted to ``Layer``. They add parameters, names and shapes, and no calculus."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from . import initializers, ops
from .ops.normalization import BatchNormResiduals, Population
from .types import Initializer, Layer, Rule, ShapeError


def dense(
    features: int,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """y = x w + b on the last axis: (*S, I) to (*S, ``features``), params ``{"w": (I, O), "b": (O,)}``.

    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    if features < 1:
        raise ValueError(f"dense wants at least one feature; got {features}")
    name = f"dense({features})"

    def init(key, in_shape):
        if not in_shape:
            raise ShapeError(f"{name} got input shape (), wants (..., I)")
        w_key, b_key = jax.random.split(key)
        w = w_init(w_key, (in_shape[-1], features))
        return {"w": w, "b": b_init(b_key, (features,))}, (*in_shape[:-1], features)

    def fwd(params, x, key=None):
        wanted = params["w"].shape[0]
        if x.shape[-1:] != (wanted,):
            raise ShapeError(f"{name} got x of shape {x.shape}, wants (N, ..., {wanted})")
        return ops.dense.fwd(x, params["w"], params["b"])

    def bwd(residuals, dy):
        dx, dw, db = ops.dense.bwd(residuals, dy)
        return {"w": dw, "b": db}, dx

    return Layer(init, fwd, bwd, name)


def lift(rule: Rule, name: str, out_shape=lambda in_shape: in_shape) -> Layer:
    """A rule of one array as a layer without parameters; ``out_shape`` maps shapes as the rule does."""

    def init(key, in_shape):
        return {}, out_shape(in_shape)

    def fwd(params, x, key=None):
        return rule.fwd(x)

    def bwd(residuals, dy):
        (dx,) = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)


def relu() -> Layer:
    """max(x, 0)."""
    return lift(ops.relu, "relu")


def leaky_relu(slope: float = 0.01) -> Layer:
    """x where x > 0, else slope·x."""
    return lift(ops.leaky_relu(slope), f"leaky_relu({slope})")


def elu(alpha: float = 1.0) -> Layer:
    """x where x > 0, else α(eˣ − 1)."""
    return lift(ops.elu(alpha), f"elu({alpha})")


def sigmoid() -> Layer:
    """1 / (1 + e⁻ˣ)."""
    return lift(ops.sigmoid, "sigmoid")


def tanh() -> Layer:
    """tanh(x)."""
    return lift(ops.tanh, "tanh")


def gelu() -> Layer:
    """x Φ(x)."""
    return lift(ops.gelu, "gelu")


def gelu_tanh() -> Layer:
    """½ x (1 + tanh √(2/π) (x + 0.044715 x³)), the gelu of GPT-2."""
    return lift(ops.gelu_tanh, "gelu_tanh")


def silu() -> Layer:
    """x σ(x)."""
    return lift(ops.silu, "silu")


def softplus() -> Layer:
    """log(1 + eˣ)."""
    return lift(ops.softplus, "softplus")


def softmax() -> Layer:
    """Softmax over the last axis. A loss on logits is more accurate than one on its output."""
    return lift(ops.softmax, "softmax")


def log_softmax() -> Layer:
    """Log-softmax over the last axis."""
    return lift(ops.log_softmax, "log_softmax")


def _gated(rule: Rule, name: str) -> Layer:
    """A rule of what passes and its gate, which are the halves of the last axis."""

    def init(key, in_shape):
        if not in_shape or in_shape[-1] % 2:
            raise ShapeError(f"{name} got input shape {in_shape}, wants (..., C) with an even C")
        return {}, (*in_shape[:-1], in_shape[-1] // 2)

    def fwd(params, x, key=None):
        if x.shape[-1] % 2:
            raise ShapeError(f"{name} got x of shape {x.shape}, wants (N, ..., C) with an even C")
        return rule.fwd(*jnp.split(x, 2, axis=-1))

    def bwd(residuals, dy):
        return {}, jnp.concatenate(rule.bwd(residuals, dy), axis=-1)

    return Layer(init, fwd, bwd, name)


def glu() -> Layer:
    """a ∘ σ(g), where x = (a, g) is two halves of the last axis: (*S, 2H) to (*S, H).

    Raises ShapeError where there are no two halves.
    """
    return _gated(ops.glu, "glu")


def reglu() -> Layer:
    """a ∘ max(g, 0), halves as of ``glu``."""
    return _gated(ops.reglu, "reglu")


def geglu() -> Layer:
    """a ∘ gelu(g), halves as of ``glu``."""
    return _gated(ops.geglu, "geglu")


def swiglu() -> Layer:
    """a ∘ silu(g), halves as of ``glu``."""
    return _gated(ops.swiglu, "swiglu")


def flatten() -> Layer:
    """(*S) to (∏ S,)."""
    return lift(ops.flatten, "flatten", lambda in_shape: (math.prod(in_shape),))


def dropout(rate: float) -> Layer:
    """Drops elements with probability ``rate`` in training (where ``fwd`` gets a key); the identity in inference."""
    rule = ops.dropout(rate)

    def init(key, in_shape):
        return {}, in_shape

    def fwd(params, x, key=None):
        return rule.fwd(x, key)

    def bwd(residuals, dy):
        dx, _ = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, f"dropout({rate})")


def batch_norm(eps: float = 1e-5) -> Layer:
    """Batch normalisation of the last axis: params ``{"gamma": (C,), "beta": (C,), "population": Population}``.

    Training normalises by the batch, inference by the population, which ``calibrate`` finds (and ``fit`` calls it).
    The gradient with respect to the population is zero in training, so that no optimizer moves it.
    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    training, inference = ops.batch_norm(eps), ops.batch_norm_inference(eps)

    def init(key, in_shape):
        if not in_shape:
            raise ShapeError("batch_norm got input shape (), wants (..., C)")
        zeros, ones = (lambda: jnp.zeros(in_shape[-1:])), (lambda: jnp.ones(in_shape[-1:]))
        return {"gamma": ones(), "beta": zeros(), "population": Population(zeros(), ones())}, in_shape

    def fwd(params, x, key=None):
        gamma, beta, population = (params[name] for name in ("gamma", "beta", "population"))
        if key is None:
            return inference.fwd(x, gamma, beta, population)
        return training.fwd(x, gamma, beta)

    def bwd(residuals, dy):
        if isinstance(residuals, BatchNormResiduals):
            dx, dgamma, dbeta = training.bwd(residuals, dy)
            dpopulation = jax.tree.map(lambda s: jnp.zeros_like(s, dgamma.dtype), residuals.population)
        else:
            dx, dgamma, dbeta, dpopulation = inference.bwd(residuals, dy)
        return {"gamma": dgamma, "beta": dbeta, "population": dpopulation}, dx

    return Layer(init, fwd, bwd, "batch_norm")


def _norm(rule: Rule, name: str, vectors: tuple[str, ...] = ("gamma", "beta")) -> Layer:
    """A norm that is the same in training and in inference: γ starts at 1 and β at 0."""

    def init(key, in_shape):
        if not in_shape:
            raise ShapeError(f"{name} got input shape {in_shape}, wants (..., C)")
        starts = {"gamma": jnp.ones, "beta": jnp.zeros}
        return {vector: starts[vector](in_shape[-1:]) for vector in vectors}, in_shape

    def fwd(params, x, key=None):
        return rule.fwd(x, *(params[vector] for vector in vectors))

    def bwd(residuals, dy):
        dx, *dvectors = rule.bwd(residuals, dy)
        return dict(zip(vectors, dvectors, strict=True)), dx

    return Layer(init, fwd, bwd, name)


def layer_norm(eps: float = 1e-5) -> Layer:
    """Normalisation of the last axis by its own mean and variance: params ``{"gamma": (C,), "beta": (C,)}``.

    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    return _norm(ops.layer_norm(eps), "layer_norm")


def rms_norm(eps: float = 1e-5) -> Layer:
    """Normalisation of the last axis by its root mean square: params ``{"gamma": (C,)}``.

    Raises ShapeError where the input has no axis to act on, or not the one it was initialised for.
    """
    return _norm(ops.rms_norm(eps), "rms_norm", vectors=("gamma",))


def group_norm(groups: int, eps: float = 1e-5) -> Layer:
    """Normalisation of each group of channels of an example: params ``{"gamma": (C,), "beta": (C,)}``.

    Raises ValueError where there is no group, and ShapeError where C is no multiple of ``groups``, or not what it was
    initialised for.
    """
    layer = _norm(ops.group_norm(groups, eps), f"group_norm({groups})")

    def init(key, in_shape):
        if in_shape and in_shape[-1] % groups:
            raise ShapeError(f"{layer.name} got input shape {in_shape}, wants (..., C) with C a multiple of {groups}")
        return layer.init(key, in_shape)

    return layer._replace(init=init)


def embedding(vocabulary: int, features: int, table_init: Initializer = initializers.normal(0.02)) -> Layer:
    """A row of a table for every token: integers (*S) to (*S, ``features``), params ``{"table": (V, D)}``.

    It starts from N(0, 0.02²), as GPT-2 does (Radford et al. 2019). A token outside [0, V) gives a row of NaN. Tokens
    have no gradient: dx is None. Raises ShapeError where they are no integers.
    """
    if vocabulary < 1 or features < 1:
        raise ValueError(f"embedding wants at least one token and one feature; got {vocabulary} and {features}")

    def init(key, in_shape):
        return {"table": table_init(key, (vocabulary, features))}, (*in_shape, features)

    def fwd(params, tokens, key=None):
        return ops.embedding.fwd(params["table"], tokens)

    def bwd(residuals, dy):
        dtable, dtokens = ops.embedding.bwd(residuals, dy)
        return {"table": dtable}, dtokens

    return Layer(init, fwd, bwd, f"embedding({vocabulary}, {features})")


def positions(length: int, table_init: Initializer = initializers.normal(0.02)) -> Layer:
    """Adds a learned row to every position: (*S, T, D) with T ≤ ``length``, params ``{"table": (length, D)}``.

    Raises ShapeError where there are more positions than rows, or the input is not what it was initialised for.
    """
    if length < 1:
        raise ValueError(f"positions wants at least one position; got {length}")
    name = f"positions({length})"

    def init(key, in_shape):
        if len(in_shape) < 2 or in_shape[-2] > length:
            raise ShapeError(f"{name} got input shape {in_shape}, wants (..., T, D) with T <= {length}")
        return {"table": table_init(key, (length, in_shape[-1]))}, in_shape

    def fwd(params, x, key=None):
        return ops.positions.fwd(x, params["table"])

    def bwd(residuals, dy):
        dx, dtable = ops.positions.bwd(residuals, dy)
        return {"table": dtable}, dx

    return Layer(init, fwd, bwd, name)


def _recurrent(
    rule: Rule, name: str, features: int, gates: tuple[int, ...], states: int = 1, state_bias: bool = False
) -> Layer:
    """A cell over a sequence that starts from states of zero; its last states are not returned."""
    if features < 1:
        raise ValueError(f"{name} wants at least one feature; got {features}")
    name, width = f"{name}({features})", (*gates, features)

    def init(key, in_shape):
        if len(in_shape) < 2:
            raise ShapeError(f"{name} got input shape {in_shape}, wants (..., T, I)")

        def w(key, rows):
            return initializers.lecun_normal()(key, (rows, math.prod(width))).reshape(rows, *width)

        w_key, u_key = jax.random.split(key)
        params = {"input": {"w": w(w_key, in_shape[-1]), "b": jnp.zeros(width)}, "state": {"w": w(u_key, features)}}
        if state_bias:
            params["state"]["b"] = jnp.zeros(features)
        return params, (*in_shape[:-1], features)

    def fwd(params, x, key=None):
        wanted = len(params["input"]["w"])
        if x.ndim < 2 or x.shape[-1] != wanted:
            raise ShapeError(f"{name} got x of shape {x.shape}, wants (N, ..., T, {wanted})")
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

    Params ``{"input": {"w": w, "b": b}, "state": {"w": u}}``: both weights decay, and start LeCun-normal. Raises
    ShapeError where the input has no time axis, or not the features it was initialised for; so do ``lstm`` and ``gru``.
    """
    return _recurrent(ops.rnn, "rnn", features, ())


def lstm(features: int) -> Layer:
    """Long short-term memory from states of zero: (*S, T, I) to all h (*S, T, ``features``); params as of ``rnn``."""
    return _recurrent(ops.lstm, "lstm", features, (4,), states=2)


def gru(features: int) -> Layer:
    """Gated recurrent units from h_0 = 0: (*S, T, I) to all states (*S, T, ``features``).

    Params as of ``rnn``, and ``{"state": {"b": c}}``: see ``ops.gru``.
    """
    return _recurrent(ops.gru, "gru", features, (3,), state_bias=True)
