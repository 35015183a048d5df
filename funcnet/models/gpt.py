"""GPT: a decoder-only transformer, pre-norm, with a tied embedding (Radford et al. 2019); positions may be rotary."""

import math
from typing import NamedTuple

from .. import initializers, ops
from ..layers import (
    dense,
    dropout,
    embedding,
    gelu_tanh,
    layer_norm,
    multi_head_attention,
    positions,
    repeat,
    residual,
    serial,
)
from ..types import Layer, ShapeError, require_shape


class GPTConfig(NamedTuple):
    """The sizes of a GPT; the defaults are the smallest GPT-2, of 124 million parameters."""

    vocabulary: int = 50257
    context: int = 1024
    """The tokens that it can see at most."""
    width: int = 768
    depth: int = 12
    heads: int = 12
    key_heads: int | None = None
    """Heads of keys and values; if not given, as many as ``heads``."""
    dropout_rate: float = 0.0
    """Of the embedding and of what each branch adds; attention weights are not dropped."""
    rotary_base: float | None = None
    """Positions turn queries and keys by angles of this base; if not given, they are learned and added to tokens."""
    block: int | None = None
    """Attention in blocks of that many keys, which keeps no weights; if not given, the plain form."""


def transformer_block(attention: Layer, feed_forward: Layer, dropout_rate: float = 0.0) -> Layer:
    """The pre-norm block (Radford et al. 2019): h = x + attention(norm x), y = h + feed_forward(norm h).

    Dropout acts on what each branch adds. params ``{"attention": {"norm", "attention"}, "feed_forward": {"norm",
    "feed_forward"}}``. ``init`` raises ShapeError unless both branches keep the shape of x.
    """
    return serial(
        attention=residual(serial(norm=layer_norm(), attention=attention, dropout=dropout(dropout_rate))),
        feed_forward=residual(serial(norm=layer_norm(), feed_forward=feed_forward, dropout=dropout(dropout_rate))),
    )


def feed_forward(config: GPTConfig) -> Layer:
    """A dense map to four times the width, gelu, and a dense map back; params ``{"hidden", "gelu", "out"}``."""
    w_init, out_init = _inits(config)
    return serial(hidden=dense(4 * config.width, w_init), gelu=gelu_tanh(), out=dense(config.width, out_init))


def _inits(config: GPTConfig) -> tuple[initializers.Initializer, initializers.Initializer]:
    """Initializers for weights, and for the last weights of each branch, as 2 ``depth`` branches are summed."""
    return initializers.normal(0.02), initializers.normal(0.02 / math.sqrt(2 * config.depth))


def trunk(config: GPTConfig) -> Layer:
    """Integers (T,) to features (T, D): all of a GPT but its last product. Raises ValueError for invalid sizes."""
    c = config
    if min(c.width, c.depth, c.heads) < 1 or c.width % c.heads:
        raise ValueError(
            f"gpt expects a depth, and heads that divide its width; got {c.depth}, {c.heads} and {c.width}"
        )
    w_init, out_init = _inits(config)
    attention = multi_head_attention(
        c.heads,
        key_heads=c.key_heads,
        causal=True,
        rotary_base=c.rotary_base,
        block=c.block,
        w_init=w_init,
        out_init=out_init,
    )
    places = {"positions": positions(c.context)} if c.rotary_base is None else {}
    return serial(
        tokens=embedding(c.vocabulary, c.width),
        **places,
        dropout=dropout(c.dropout_rate),
        blocks=repeat(transformer_block(attention, feed_forward(config), c.dropout_rate), c.depth),
        norm=layer_norm(),
    )


def gpt(config: GPTConfig, *, fused: bool = False) -> Layer:
    """Logits of the token that follows each: integers (T,) to (T, V), with T at most the context.

    params: ``{"tokens": {"table"}, "positions": {"table"}, "dropout": {}, "blocks", "norm"}``, with the parameters of
    all blocks stacked; rotary positions have none. The table of tokens is also the weight of the last product, which
    ``fused`` leaves to the loss: it returns (x, table), the input of ``ops.linear_softmax_cross_entropy``, and nothing
    of the size of the logits is held.

    A token outside [0, V) gives NaN, as no value can raise under jit; ``check_tokens`` finds it beforehand. Raises
    ValueError for invalid sizes, and ShapeError unless tokens are integers (N, T), T at most the context.
    """
    return _tied(trunk(config), config, fused)


def _tied(body: Layer, config: GPTConfig, fused: bool) -> Layer:
    """``body``, and its table of tokens once more as the last product."""

    def init(key, in_shape):
        require_shape("gpt", in_shape)
        _fits(config, in_shape)
        params, _ = body.init(key, in_shape)
        return params, (*in_shape, config.vocabulary)

    def fwd(params, tokens, key=None):
        _fits(config, tokens.shape[1:])
        x, of_body = body.fwd(params, tokens, key)
        table = params["tokens"]["table"]
        y, of_head = ((x, table), None) if fused else ops.unembedding.fwd(x, table)
        return y, (of_body, of_head)

    def bwd(residuals, dy):
        """The table is used at both ends, so its two gradients are added."""
        of_body, of_head = residuals
        dx, dtable = dy if fused else ops.unembedding.bwd(of_head, dy)
        dparams, _ = body.bwd(of_body, dx)
        return {**dparams, "tokens": {"table": dparams["tokens"]["table"] + dtable}}, None

    return Layer(init, fwd, bwd, "gpt", (body,), lambda body: _tied(body, config, fused))


def _fits(config: GPTConfig, shape: tuple[int, ...]) -> None:
    if len(shape) != 1 or not 1 <= shape[0] <= config.context:
        raise ShapeError(f"gpt expects tokens (N, T), T from 1 to the context of {config.context}; got {('N', *shape)}")
