"""Convolution of images (H, W, C), and its transpose."""

from collections.abc import Callable

import jax

from .. import initializers, ops
from ..ops.windows import Padding, Pair, pair
from ..types import Initializer, Layer, Rule, ShapeError, require_key, require_shape
from .lifting import out_shape, require


def conv2d(
    features: int,
    kernel_size: Pair = 3,
    stride: Pair = 1,
    padding: Padding = "SAME",
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """Convolution of an image (H, W, C) to (P, Q, ``features``): params ``{"w": (R, S, C/groups, features), "b"}``.

    Use ``bias=False`` before a normalisation, which would cancel the bias. See ``ops.conv2d``.
    Raises ValueError for invalid settings, ShapeError for an image that does not fit.
    """
    settings = stride, padding, dilation, groups
    return _convolution(ops.conv2d, settings, features, kernel_size, bias, w_init, b_init)


def conv2d_transpose(
    features: int,
    kernel_size: Pair = 3,
    stride: Pair = 1,
    padding: Padding = "SAME",
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),
    b_init: Initializer = initializers.zeros(),
) -> Layer:
    """Transposed convolution of an image (H, W, C) to (P, Q, ``features``), larger by ``stride``.

    Params and errors are as in ``conv2d``. See ``ops.conv2d_transpose``.
    """
    settings = stride, padding, dilation, groups
    return _convolution(ops.conv2d_transpose, settings, features, kernel_size, bias, w_init, b_init)


def _convolution(
    factory: Callable[..., Rule],
    settings: tuple[Pair, Padding, Pair, int],
    features: int,
    kernel_size: Pair,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
) -> Layer:
    kind, rule, groups = factory.__name__, factory(*settings), settings[-1]
    name, field = f"{kind}({features})", pair(f"{kind}'s kernel_size", kernel_size)
    if features < 1 or features % groups:
        raise ValueError(f"{kind} expects features of at least 1, a multiple of groups={groups}; got {features}")

    expected = {"w": (*field, None, features)} | ({"b": (features,)} if bias else {})

    def init(key, in_shape):
        require_shape(name, in_shape)
        if len(in_shape) != 3 or in_shape[-1] % groups:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (H, W, C), C a multiple of groups={groups}")
        w_key, b_key = jax.random.split(require_key(name, key))
        params = {"w": w_init(w_key, (*field, in_shape[-1] // groups, features))}
        if bias:
            params["b"] = b_init(b_key, (features,))
        return params, out_shape(lambda x: rule.fwd(x, params["w"]), in_shape, params["w"].dtype)

    def fwd(params, x, key=None):
        require(name, params, x, **expected)
        return rule.fwd(x, params["w"], params.get("b"))

    def bwd(residuals, dy):
        dx, dw, db = rule.bwd(residuals, dy)
        return ({"w": dw, "b": db} if bias else {"w": dw}), dx

    return Layer(init, fwd, bwd, name)
