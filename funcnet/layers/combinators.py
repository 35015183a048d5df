"""Combinators: layers in, a layer out. Their ``bwd`` is the chain rule, and asks nothing of what it combines.

``params`` of several parts are a tuple in their order, and so are the residuals.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import Layer, ShapeError


def serial(*layers: Layer) -> Layer:
    """f_n ∘ … ∘ f_1: each layer takes what the one before it gives.

    bwd: dx_{i} is what layer i+1 returns for its input, from the last layer to the first.
    """

    def init(key, in_shape):
        params, shape = [], in_shape
        for i, (layer, layer_key) in enumerate(zip(layers, _split(key, len(layers)), strict=True)):
            with _inside("serial", i):
                layer_params, shape = layer.init(layer_key, shape)
            params.append(layer_params)
        return tuple(params), shape

    def fwd(params, x, key=None):
        residuals, y = [], x
        for i, (layer, p, layer_key) in enumerate(zip(layers, params, _split(key, len(layers)), strict=True)):
            with _inside("serial", i):
                y, r = layer.fwd(p, y, layer_key)
            residuals.append(r)
        return y, tuple(residuals)

    def bwd(residuals, dy):
        dparams = []
        for i, (layer, r) in reversed(list(enumerate(zip(layers, residuals, strict=True)))):
            layer_dparams, dy = layer.bwd(r, dy)
            if i > 0:
                _differentiable(dy, "serial", i, layer)
            dparams.append(layer_dparams)
        return tuple(reversed(dparams)), dy

    return Layer(init, fwd, bwd, "serial", layers, serial)


def residual(layer: Layer) -> Layer:
    """y = x + f(x), so dx = dy + (the dx of f) (He et al. 2016); f must keep the shape of x."""

    def init(key, in_shape):
        with _inside("residual", 0):
            params, out_shape = layer.init(key, in_shape)
        if out_shape != in_shape:
            raise ShapeError(f"residual({layer.name}) got output shape {out_shape}, wants that of its input {in_shape}")
        return params, out_shape

    def fwd(params, x, key=None):
        with _inside("residual", 0):
            y, residuals = layer.fwd(params, x, key)
        return x + y, residuals

    def bwd(residuals, dy):
        dparams, dx = layer.bwd(residuals, dy)
        return dparams, dy + _differentiable(dx, "residual", 0, layer)

    return Layer(init, fwd, bwd, "residual", (layer,), residual)


class Branches(NamedTuple):
    """The residuals of each branch, and an array of no elements that carries the width of its output, and no bytes."""

    branches: tuple
    empties: tuple


def parallel(*layers: Layer, merge: Literal["sum", "concatenate"] = "sum") -> Layer:
    """y = Σ_i f_i(x), or their concatenation along the last axis.

    bwd: the cotangent of each branch is dy, or its slice of dy; x went to all, so dx = Σ_i dx_i.
    """
    if merge not in ("sum", "concatenate"):
        raise ValueError(f"parallel merges by 'sum' or 'concatenate'; got {merge!r}")
    if not layers:
        raise ValueError("parallel wants at least one layer")
    name = f"parallel({merge})"

    def init(key, in_shape):
        params, shapes = [], []
        for i, (layer, layer_key) in enumerate(zip(layers, _split(key, len(layers)), strict=True)):
            with _inside(name, i):
                layer_params, shape = layer.init(layer_key, in_shape)
            params.append(layer_params)
            shapes.append(shape)
        keep = slice(None) if merge == "sum" else slice(-1)
        for i, shape in enumerate(shapes):
            if shape[keep] != shapes[0][keep] or (merge != "sum" and not shape):
                wanted = f"to fit {shapes[0]}" if shapes[0] or merge == "sum" else "a last axis"
                raise ShapeError(f"{name}[{i}] {layers[i].name} gives shape {shape}, wants {wanted}")
        width = sum(shape[-1] for shape in shapes) if merge == "concatenate" else None
        return tuple(params), shapes[0] if width is None else (*shapes[0][:-1], width)

    def fwd(params, x, key=None):
        ys, residuals = [], []
        for i, (layer, p, layer_key) in enumerate(zip(layers, params, _split(key, len(layers)), strict=True)):
            with _inside(name, i):
                y, r = layer.fwd(p, x, layer_key)
            ys.append(y)
            residuals.append(r)
        y = functools.reduce(jnp.add, ys) if merge == "sum" else jnp.concatenate(ys, axis=-1)
        return y, Branches(tuple(residuals), tuple(y[:0] for y in ys))

    def bwd(residuals, dy):
        if merge == "sum":
            dys = [dy] * len(layers)
        else:
            widths = [empty.shape[-1] for empty in residuals.empties]
            dys = jnp.split(dy, np.cumsum(widths)[:-1], axis=-1)
        pairs = [layer.bwd(r, d) for layer, r, d in zip(layers, residuals.branches, dys, strict=True)]
        dxs = [_differentiable(dx, name, i, layers[i]) for i, (_, dx) in enumerate(pairs)]
        return tuple(dparams for dparams, _ in pairs), functools.reduce(jnp.add, dxs)

    return Layer(init, fwd, bwd, name, layers, functools.partial(parallel, merge=merge))


def repeat(layer: Layer, times: int) -> Layer:
    """layer ∘ … ∘ layer, each with parameters of its own: params are those of one, stacked on a new first axis.

    The layer is compiled once, however deep the network; it must keep the shape and the dtype of x.
    bwd: as of ``serial``, a loop from the last to the first, over residuals that are stacked as the parameters are.
    """
    if times < 1:
        raise ValueError(f"repeat wants at least one time; got {times}")
    name = f"repeat({times})"

    def init(key, in_shape):
        shapes = []

        def one(key):
            params, shape = layer.init(key, in_shape)
            shapes.append(shape)
            return params

        with _inside(name, 0):
            params = jax.vmap(one)(jax.random.split(key, times))
        if shapes[0] != in_shape:
            raise ShapeError(f"{name}({layer.name}) got output shape {shapes[0]}, wants that of its input {in_shape}")
        return params, in_shape

    def fwd(params, x, key=None):
        def step(x, part):
            return layer.fwd(part[0], x, part[1])

        with _inside(name, 0):
            keys = None if key is None else jax.random.split(key, times)
            return lax.scan(step, x, (params, keys), length=times)

    def bwd(residuals, dy):
        def step(dy, r):
            dparams, dx = layer.bwd(r, dy)
            return _differentiable(dx, name, 0, layer), dparams

        dx, dparams = lax.scan(step, dy, residuals, length=times, reverse=True)
        return dparams, dx

    return Layer(init, fwd, bwd, name, (layer,), functools.partial(repeat, times=times))


def _split(key, n: int):
    return [None] * n if key is None else list(jax.random.split(key, n))


def _differentiable(dx, name: str, i: int, layer: Layer):
    if dx is None:
        raise TypeError(
            f"{name}[{i}] {layer.name} takes integers and has no dx: only the first layer of a serial may do that"
        )
    return dx


@contextmanager
def _inside(name: str, i: int):
    """Puts the way to the part before the message of its ShapeError."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{name}[{i}] > {error}") from None
