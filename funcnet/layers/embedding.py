"""Embeddings of tokens and of positions."""

from .. import initializers, ops
from ..types import Initializer, Layer, ShapeError, require_shape
from .lifting import require


def embedding(vocabulary: int, features: int, table_init: Initializer = initializers.normal(0.02)) -> Layer:
    """A row of a table for every token: integers (*S) to (*S, ``features``), params ``{"table": (V, D)}``.

    The table starts from N(0, 0.02²), as in GPT-2 (Radford et al. 2019). A token outside [0, V) gives a row of NaN.
    Tokens have no gradient: dx is None. Raises ValueError for invalid settings, ShapeError if tokens are not integers.
    """
    if vocabulary < 1 or features < 1:
        raise ValueError(f"embedding expects at least one token and one feature; got {vocabulary} and {features}")

    name = f"embedding({vocabulary}, {features})"

    def init(key, in_shape):
        require_shape(name, in_shape)
        return {"table": table_init(key, (vocabulary, features))}, (*in_shape, features)

    def fwd(params, tokens, key=None):
        require(name, params, tokens, table=(vocabulary, features))
        return ops.embedding.fwd(params["table"], tokens)

    def bwd(residuals, dy):
        dtable, dtokens = ops.embedding.bwd(residuals, dy)
        return {"table": dtable}, dtokens

    return Layer(init, fwd, bwd, name)


def positions(length: int, table_init: Initializer = initializers.normal(0.02)) -> Layer:
    """Adds a learned row to every position: (*S, T, D) with T ≤ ``length``, params ``{"table": (length, D)}``.

    Raises ValueError for invalid settings; ``init`` and ``fwd`` raise ShapeError, also if T > ``length``.
    """
    if length < 1:
        raise ValueError(f"positions expects at least one position; got {length}")
    name = f"positions({length})"

    def init(key, in_shape):
        require_shape(name, in_shape)
        if len(in_shape) < 2 or in_shape[-2] > length:
            raise ShapeError(f"{name} got input shape {in_shape}, expects (..., T, D) with T <= {length}")
        return {"table": table_init(key, (length, in_shape[-1]))}, in_shape

    def fwd(params, x, key=None):
        require(name, params, x, table=(length, None))
        return ops.positions.fwd(x, params["table"])

    def bwd(residuals, dy):
        dx, dtable = ops.positions.bwd(residuals, dy)
        return {"table": dtable}, dx

    return Layer(init, fwd, bwd, name)
