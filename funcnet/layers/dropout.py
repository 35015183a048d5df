"""Dropout."""

from .. import ops
from ..types import Layer, require_shape
from .lifting import require


def dropout(rate: float) -> Layer:
    """Drops elements with probability ``rate`` in training (``fwd`` with a key); the identity in inference.

    Raises ValueError unless 0 <= rate < 1.
    """
    rule, name = ops.dropout(rate), f"dropout({rate})"

    def init(key, in_shape):
        require_shape(name, in_shape)
        return {}, in_shape

    def fwd(params, x, key=None):
        require(name, params, x)
        return rule.fwd(x, key)

    def bwd(residuals, dy):
        dx, _ = rule.bwd(residuals, dy)
        return {}, dx

    return Layer(init, fwd, bwd, name)
