"""Batch, layer, RMS and group normalisation."""

import jax
import jax.numpy as jnp

from .. import ops
from ..ops.normalization import BatchNormResiduals, Population
from ..types import Layer, Rule, ShapeError, require_shape
from .lifting import require


def batch_norm(eps: float = 1e-5) -> Layer:
    """Batch normalisation of the last axis: params ``{"gamma": (C,), "beta": (C,), "population": Population}``.

    Training normalises by the batch (``ops.batch_norm``), inference by the population (``ops.batch_norm_inference``),
    which ``training.calibrate`` estimates; ``fit`` calls it. In training the gradient of the population is zero, so
    that no optimizer moves it. Raises ShapeError, as all norms here do, for an input without an axis or with
    another C than it was initialised with.
    """
    training, inference = ops.batch_norm(eps), ops.batch_norm_inference(eps)

    def init(key, in_shape):
        require_shape("batch_norm", in_shape)
        if not in_shape:
            raise ShapeError("batch_norm got input shape (), expects (..., C)")
        zeros, ones = (lambda: jnp.zeros(in_shape[-1:])), (lambda: jnp.ones(in_shape[-1:]))
        return {"gamma": ones(), "beta": zeros(), "population": Population(zeros(), ones())}, in_shape

    def fwd(params, x, key=None):
        require("batch_norm", params, x, gamma=(None,), beta=(None,), population=None)
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
    """A norm that is the same in training and in inference; γ starts at 1, β at 0."""

    def init(key, in_shape):
        require_shape(name, in_shape)
        if not in_shape:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., C)")
        starts = {"gamma": jnp.ones, "beta": jnp.zeros}
        return {vector: starts[vector](in_shape[-1:]) for vector in vectors}, in_shape

    def fwd(params, x, key=None):
        require(name, params, x, **dict.fromkeys(vectors, (None,)))
        return rule.fwd(x, *(params[vector] for vector in vectors))

    def bwd(residuals, dy):
        dx, *dvectors = rule.bwd(residuals, dy)
        return dict(zip(vectors, dvectors, strict=True)), dx

    return Layer(init, fwd, bwd, name)


def layer_norm(eps: float = 1e-5) -> Layer:
    """Normalisation of the last axis by its own mean and variance: params ``{"gamma": (C,), "beta": (C,)}``."""
    return _norm(ops.layer_norm(eps), "layer_norm")


def rms_norm(eps: float = 1e-5) -> Layer:
    """Normalisation of the last axis by its root mean square: params ``{"gamma": (C,)}``."""
    return _norm(ops.rms_norm(eps), "rms_norm", vectors=("gamma",))


def group_norm(groups: int, eps: float = 1e-5) -> Layer:
    """Normalisation of each group of channels of an example: params ``{"gamma": (C,), "beta": (C,)}``.

    Raises ValueError unless ``groups`` is at least 1, and ShapeError also if it does not divide C.
    """
    layer = _norm(ops.group_norm(groups, eps), f"group_norm({groups})")

    def init(key, in_shape):
        require_shape(layer.name, in_shape)
        if in_shape and in_shape[-1] % groups:
            raise ShapeError(f"{layer.name} got input shape {in_shape}, expects (..., C) with C a multiple of {groups}")
        return layer.init(key, in_shape)

    return layer._replace(init=init)
