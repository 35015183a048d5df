"""The dense layer."""

import jax

from .. import initializers, ops
from ..types import Initializer, Layer, ShapeError, require_key, require_shape
from .lifting import require


def dense(
    features: int,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """y = x w + b on the last axis: (*S, I) to (*S, ``features``), params ``{"w": (I, O), "b": (O,)}``.

    Raises ValueError unless ``features`` is at least 1. ``init`` raises ShapeError for an input without an axis, and
    ``fwd`` for another I than it was initialised with.
    """
    if features < 1:
        raise ValueError(f"dense expects at least one feature; got {features}")
    name = f"dense({features})"

    def init(key, in_shape):
        require_shape(name, in_shape)
        if not in_shape:
            raise ShapeError(f"{name} got input shape (), expects (..., I)")
        w_key, b_key = jax.random.split(require_key(name, key))
        w = w_init(w_key, (in_shape[-1], features))
        return {"w": w, "b": b_init(b_key, (features,))}, (*in_shape[:-1], features)

    def fwd(params, x, key=None):
        require(name, params, x, w=(None, features), b=(features,))
        wanted = params["w"].shape[0]
        if x.shape[-1:] != (wanted,):
            raise ShapeError(f"{name} got x of shape {x.shape}, expects (N, ..., {wanted})")
        return ops.dense.fwd(x, params["w"], params["b"])

    def bwd(residuals, dy):
        dx, dw, db = ops.dense.bwd(residuals, dy)
        return {"w": dw, "b": db}, dx

    return Layer(init, fwd, bwd, name)
