"""Combinators: layers in, a layer out. Their ``bwd`` is the chain rule, and asks nothing of what it combines.

``serial`` and ``parallel`` take their parts by position or by name: ``params`` are a tuple in their order, or a dict by
their names, and so are the residuals.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..types import (
    Layer,
    Params,
    ShapeError,
    require_arrays,
    require_key,
    require_made,
    require_not_a_pair,
    require_shape,
)


def serial(*layers: Layer, **named: Layer) -> Layer:
    """f_n ∘ … ∘ f_1: each layer takes the output of the one before it.

    bwd: dx_{i} is what layer i+1 returns for its input, from the last layer to the first.
    Raises TypeError for a part that is not a Layer, ValueError for parts by position and by name at once.
    """
    parts, pack = _parts("serial", layers, named)

    def init(key, in_shape):
        require_shape("serial", in_shape)
        params, shape = [], in_shape
        for (label, layer), layer_key in zip(parts.items(), _split("serial", key, len(parts)), strict=True):
            with _inside("serial", label):
                layer_params, shape = layer.init(layer_key, shape)
            params.append(layer_params)
        return pack(params), shape

    def fwd(params, x, key=None):
        _require_params("serial", parts, named, params, x)
        residuals, y = [], x
        for (label, layer), layer_key in zip(parts.items(), _split("serial", key, len(parts)), strict=True):
            with _inside("serial", label):
                y, r = layer.fwd(params[label], y, layer_key)
            residuals.append(r)
        return y, pack(residuals)

    def bwd(residuals, dy):
        dparams = []
        for i, (label, layer) in reversed(list(enumerate(parts.items()))):
            layer_dparams, dy = layer.bwd(residuals[label], dy)
            if i > 0:
                _differentiable(dy, "serial", label, layer)
            dparams.append(layer_dparams)
        return pack(reversed(dparams)), dy

    return Layer(init, fwd, bwd, "serial", *_seen(serial, parts, named))


def residual(layer: Layer) -> Layer:
    """y = x + f(x), so dx = dy + (the dx of f) (He et al. 2016); f must keep the shape of x.

    Raises TypeError for a part that is not a Layer; ``init`` raises ShapeError if f changes the shape.
    """
    require_made("residual[0]", Layer, layer)

    def init(key, in_shape):
        require_shape("residual", in_shape)
        with _inside("residual", 0):
            params, out_shape = layer.init(key, in_shape)
        if out_shape != in_shape:
            raise ShapeError(f"residual({layer.name}) got output shape {out_shape}, expects its input shape {in_shape}")
        return params, out_shape

    def fwd(params, x, key=None):
        with _inside("residual", 0):
            y, residuals = layer.fwd(params, x, key)
        return x + y, residuals

    def bwd(residuals, dy):
        dparams, dx = layer.bwd(residuals, dy)
        return dparams, dy + _differentiable(dx, "residual", 0, layer)

    return Layer(init, fwd, bwd, "residual", (layer,), residual)


def parallel(*layers: Layer, merge: Literal["sum", "concatenate"] = "sum", **named: Layer) -> Layer:
    """y = Σ_i f_i(x), or their concatenation along the last axis.

    bwd: the cotangent of each branch is dy, or its slice of dy; x went to all, so dx = Σ_i dx_i.
    Raises ValueError for another ``merge``, for no parts, or for parts by position and by name at once; TypeError for a
    part that is not a Layer. ``init`` raises ShapeError if the outputs do not fit.
    """
    if merge not in ("sum", "concatenate"):
        raise ValueError(f"parallel merges by 'sum' or 'concatenate'; got {merge!r}")
    name = f"parallel({merge})"
    parts, pack = _parts(name, layers, named)
    if not parts:
        raise ValueError("parallel expects at least one layer")

    def init(key, in_shape):
        require_shape(name, in_shape)
        params, shapes = [], []
        for (label, layer), layer_key in zip(parts.items(), _split(name, key, len(parts)), strict=True):
            with _inside(name, label):
                layer_params, shape = layer.init(layer_key, in_shape)
            params.append(layer_params)
            shapes.append(shape)
        keep = slice(None) if merge == "sum" else slice(-1)
        for (label, layer), shape in zip(parts.items(), shapes, strict=True):
            if shape[keep] != shapes[0][keep] or (merge != "sum" and not shape):
                wanted = f"to fit {shapes[0]}" if shapes[0] or merge == "sum" else "a last axis"
                raise ShapeError(f"{name}[{label}] {layer.name} gives shape {shape}, expects {wanted}")
        width = sum(shape[-1] for shape in shapes) if merge == "concatenate" else None
        return pack(params), shapes[0] if width is None else (*shapes[0][:-1], width)

    def fwd(params, x, key=None):
        _require_params(name, parts, named, params, x)
        ys, residuals = [], []
        for (label, layer), layer_key in zip(parts.items(), _split(name, key, len(parts)), strict=True):
            with _inside(name, label):
                y, r = layer.fwd(params[label], x, layer_key)
            ys.append(y)
            residuals.append(r)
        y = functools.reduce(jnp.add, ys) if merge == "sum" else jnp.concatenate(ys, axis=-1)
        return y, (pack(residuals), [y[:0] for y in ys])  # arrays of no elements carry the widths, and no bytes

    def bwd(residuals, dy):
        residuals, empties = residuals
        if merge == "sum":
            dys = [dy] * len(parts)
        else:
            widths = [empty.shape[-1] for empty in empties]
            dys = jnp.split(dy, np.cumsum(widths)[:-1], axis=-1)
        dparams, dxs = [], []
        for (label, layer), branch_dy in zip(parts.items(), dys, strict=True):
            layer_dparams, dx = layer.bwd(residuals[label], branch_dy)
            dparams.append(layer_dparams)
            dxs.append(_differentiable(dx, name, label, layer))
        return pack(dparams), functools.reduce(jnp.add, dxs)

    return Layer(init, fwd, bwd, name, *_seen(functools.partial(parallel, merge=merge), parts, named))


def repeat(layer: Layer, times: int) -> Layer:
    """layer ∘ … ∘ layer, each with parameters of its own: params are those of one, stacked on a new first axis.

    The layer is compiled once, however deep the network; it must keep the shape and the dtype of x.
    bwd: as of ``serial``, a loop from the last to the first, over residuals that are stacked as the parameters are.
    Raises ValueError for less than one time, TypeError for a part that is not a Layer.
    """
    if times < 1:
        raise ValueError(f"repeat expects at least one time; got {times}")
    name = f"repeat({times})"
    require_made(f"{name}[0]", Layer, layer)

    def init(key, in_shape):
        require_shape(name, in_shape)
        shapes = []

        def one(key):
            params, shape = layer.init(key, in_shape)
            shapes.append(shape)
            return params

        with _inside(name, 0):
            params = jax.vmap(one)(jax.random.split(require_key(name, key), times))
        if shapes[0] != in_shape:
            raise ShapeError(f"{name}({layer.name}) got output shape {shapes[0]}, expects its input shape {in_shape}")
        return params, in_shape

    def fwd(params, x, key=None):
        def step(x, part):
            return layer.fwd(part[0], x, part[1])

        require_not_a_pair(name, params)
        require_arrays(name, params, x)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.shape[:1] != (times,):
                at = f"params{jax.tree_util.keystr(path)}"
                raise ShapeError(f"{name} got {at} of shape {leaf.shape}, expects ({times}, ...): a row for each time")
        with _inside(name, 0):
            keys = None if key is None else jax.random.split(require_key(name, key), times)
            return lax.scan(step, x, (params, keys), length=times)

    def bwd(residuals, dy):
        def step(dy, r):
            dparams, dx = layer.bwd(r, dy)
            return _differentiable(dx, name, 0, layer), dparams

        dx, dparams = lax.scan(step, dy, residuals, length=times, reverse=True)
        return dparams, dx

    return Layer(init, fwd, bwd, name, (layer,), functools.partial(repeat, times=times))


# ---------------------------------------------------------------- what they share

Label = int | str


def _parts(
    name: str, layers: tuple[Layer, ...], named: dict[str, Layer]
) -> tuple[dict[Label, Layer], Callable[[Iterable[Any]], Any]]:
    """The parts by position or name, and a function that puts what belongs to each into a tuple or a dict."""
    if layers and named:
        raise ValueError(f"{name} takes its parts by position or by name, not some of each")
    parts: dict[Label, Layer] = dict(named.items() if named else enumerate(layers))
    for label, layer in parts.items():
        require_made(f"{name}[{label}]", Layer, layer)
    return parts, (lambda values: dict(zip(named, values, strict=True))) if named else tuple


def _seen(combine: Callable[..., Layer], parts: dict[Label, Layer], named: dict[str, Layer]):
    """The fields of a Layer that let a tool look inside: the parts, how to combine them anew, their names."""
    again = (lambda *layers: combine(**dict(zip(named, layers, strict=True)))) if named else combine
    return tuple(parts.values()), again, tuple(named)


def _require_params(
    name: str, parts: Mapping[Label, Layer], named: Mapping[str, Layer], params: Params, x: Any
) -> None:
    """Raises TypeError unless ``x`` holds arrays, ShapeError unless there are parameters for each part, and no more."""
    require_arrays(name, x)
    require_not_a_pair(name, params)
    fits = params.keys() == named.keys() if isinstance(params, Mapping) else isinstance(params, Sequence) and not named
    if not fits or len(params) != len(parts):
        wanted = f"a dict of {list(named)}" if named else f"a tuple of {len(parts)}"
        got = f"a dict of {list(params)}" if isinstance(params, Mapping) else f"a {type(params).__name__}"
        got += f" of {len(params)}" if isinstance(params, Sequence) else ""
        raise ShapeError(f"{name} got params that are {got}, expects {wanted}: are they of another network?")


def _split(name: str, key, n: int):
    return [None] * n if key is None else list(jax.random.split(require_key(name, key), n))


def _differentiable(dx, name: str, label: Label, layer: Layer):
    if dx is None:
        raise TypeError(
            f"{name}[{label}] {layer.name} takes integers and has no dx: only the first layer of a serial may do that"
        )
    return dx


@contextmanager
def _inside(name: str, label: Label):
    """Puts the way to the part before the message of its ShapeError."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"{name}[{label}] > {error}") from None
