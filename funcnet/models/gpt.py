"""GPT: a decoder-only transformer, pre-norm, with a tied embedding (Radford et al. 2019); positions may be rotary."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .. import initializers, ops
from ..layers.activations import gelu_tanh
from ..layers.attention import merge_heads, multi_head_attention, queries_keys_values, transformer_block
from ..layers.combinators import repeat, serial
from ..layers.dropout import dropout
from ..layers.embedding import embedding, positions
from ..layers.linear import dense
from ..layers.normalization import layer_norm
from ..types import Initializer, Layer, Params, Residuals, ShapeError


class GPTConfig(NamedTuple):
    """The sizes of a GPT; those it starts with are GPT-2's smallest, of 124 million parameters."""

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


def _parts(config: GPTConfig) -> tuple[Layer, Layer, Layer, Layer, Layer]:
    """Tokens, positions, dropout, the blocks, the last norm. Raises ValueError for sizes that cannot be."""
    c = config
    if min(c.width, c.depth, c.heads) < 1 or c.width % c.heads:
        raise ValueError(f"gpt wants a depth, and heads that divide its width; got {c.depth}, {c.heads} and {c.width}")
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
    return (
        embedding(c.vocabulary, c.width),
        positions(c.context) if c.rotary_base is None else serial(),
        dropout(c.dropout_rate),
        repeat(transformer_block(attention, _feed_forward(config), c.dropout_rate), c.depth),
        layer_norm(),
    )


def _inits(config: GPTConfig) -> tuple[Initializer, Initializer]:
    """Of weights, and of those that end a branch: 2 ``depth`` branches are summed."""
    return initializers.normal(0.02), initializers.normal(0.02 / math.sqrt(2 * config.depth))


def _feed_forward(config: GPTConfig) -> Layer:
    w_init, out_init = _inits(config)
    return serial(dense(4 * config.width, w_init), gelu_tanh(), dense(config.width, out_init))


class GPTResiduals(NamedTuple):
    tokens: Residuals
    positions: Residuals
    dropout: Residuals
    blocks: Residuals
    norm: Residuals
    head: Residuals


def gpt(config: GPTConfig, *, fused: bool = False) -> Layer:
    """Logits of the token that follows each: integers (T,) to (T, V), with T at most the context.

    params ``{"tokens": {"table"}, "positions": {"table"}, "blocks": …, "norm": …}``, those of all blocks stacked.
    Rotary positions have none. The table of tokens is the last product's too, which ``fused`` leaves to the loss: it
    gives (x, table), which ``ops.linear_softmax_cross_entropy`` takes, and nothing of the size of the logits is held.

    A token outside [0, V) gives NaN, as no value can raise under jit; ``check_tokens`` says it before. Raises
    ValueError for sizes that cannot be, and ShapeError for tokens that are no integers (N, T), T at most the context.
    """
    tokens_layer, positions_layer, drop, blocks, norm = _parts(config)

    def init(key, in_shape):
        keys = jax.random.split(key, 3)
        tokens, shape = tokens_layer.init(keys[0], in_shape)
        _fits(config, in_shape)
        places, _ = positions_layer.init(keys[1], shape)
        stacked, _ = blocks.init(keys[2], shape)
        params = {"tokens": tokens, "positions": places, "blocks": stacked, "norm": norm.init(None, shape)[0]}
        return params, (*in_shape, config.vocabulary)

    def fwd(params, tokens, key=None):
        _fits(config, tokens.shape[1:])
        drop_key, blocks_key = (None, None) if key is None else jax.random.split(key)
        table = params["tokens"]["table"]
        x, of_tokens = tokens_layer.fwd(params["tokens"], tokens)
        x, of_positions = positions_layer.fwd(params["positions"], x)
        x, of_drop = drop.fwd({}, x, drop_key)
        x, of_blocks = blocks.fwd(params["blocks"], x, blocks_key)
        x, of_norm = norm.fwd(params["norm"], x)
        y, of_head = ((x, table), None) if fused else ops.unembedding.fwd(x, table)
        return y, GPTResiduals(of_tokens, of_positions, of_drop, of_blocks, of_norm, of_head)

    def bwd(residuals, dy):
        """The chain from the last to the first; the table was used at both ends, so its two gradients are added."""
        dx, dtable = dy if fused else ops.unembedding.bwd(residuals.head, dy)
        dnorm, dx = norm.bwd(residuals.norm, dx)
        dblocks, dx = blocks.bwd(residuals.blocks, dx)
        _, dx = drop.bwd(residuals.dropout, dx)
        dpositions, dx = positions_layer.bwd(residuals.positions, dx)
        dtokens, _ = tokens_layer.bwd(residuals.tokens, dx)
        tied = {"table": dtokens["table"] + dtable}
        return {"tokens": tied, "positions": dpositions, "blocks": dblocks, "norm": dnorm}, None

    return Layer(init, fwd, bwd, "gpt")


def _fits(config: GPTConfig, shape: tuple[int, ...]) -> None:
    if len(shape) != 1 or not 1 <= shape[0] <= config.context:
        raise ShapeError(f"gpt wants tokens (N, T), T from 1 to the context of {config.context}; got {('N', *shape)}")


def check_tokens(tokens: Any, vocabulary: int) -> None:
    """Raises ValueError for the first token that is no integer in [0, ``vocabulary``)."""
    found = np.asarray(tokens)
    wrong = found[(found < 0) | (found >= vocabulary)] if np.issubdtype(found.dtype, np.integer) else found.ravel()[:1]
    if wrong.size:
        raise ValueError(f"tokens are integers from 0 to {vocabulary - 1}; got {wrong[0]}")


# ---------------------------------------------------------------- sampling


class Cache(NamedTuple):
    """The keys and values of all blocks, for every token so far; zeros stand where none is yet."""

    k: Float[Array, "depth B K L E"]
    v: Float[Array, "depth B K L E"]


def empty_cache(config: GPTConfig, batch: int, length: int, dtype: Any = float) -> Cache:
    """A cache for ``length`` tokens."""
    shape = (config.depth, batch, config.key_heads or config.heads, length, config.width // config.heads)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def cached_logits(
    config: GPTConfig,
    params: Params,
    tokens: Int[Array, "B T"],
    cache: Cache,
    start: int | Int[Array, ""],
    last: bool = False,
) -> tuple[Float[Array, "B T V"], Cache]:
    """The logits of the T tokens that stand at ``start`` and after; what came before is in the cache, as they then are.

    Equal to what ``gpt`` gives for all tokens at once, at the cost of T. With ``last`` it is the logits of the last
    alone, (B, 1, V). Past the cache's end they are NaN, as no value can raise under jit.
    """
    norm, feed_forward = layer_norm(), _feed_forward(config)
    heads, key_heads = config.heads, config.key_heads or config.heads
    T, L = tokens.shape[1], cache.k.shape[-2]
    seen = jnp.arange(L)[None, :] <= start + jnp.arange(T)[:, None]
    table = params["tokens"]["table"]
    x, _ = ops.embedding.fwd(table, tokens)
    turn = None if config.rotary_base is None else ops.rotary(config.rotary_base)
    if turn is None:
        x, _ = ops.positions.fwd(x, lax.dynamic_slice_in_dim(params["positions"]["table"], start, T))

    def step(x, part):
        p, k, v = part
        normed, _ = norm.fwd(p["attention_norm"], x)
        q, new_k, new_v, _ = queries_keys_values(p["attention"]["qkv"], normed, heads, key_heads)
        if turn is not None:
            q, new_k = (turn.fwd(x, start + jnp.arange(T))[0] for x in (q, new_k))
        k, v = (lax.dynamic_update_slice_in_dim(old, new, start, -2) for old, new in ((k, new_k), (v, new_v)))
        y, _ = ops.attention().fwd(q, k, v, seen)
        y, _ = ops.dense.fwd(merge_heads(y), *(p["attention"]["out"][name] for name in ("w", "b")))
        x = x + y
        y, _ = feed_forward.fwd(p["feed_forward"], norm.fwd(p["feed_forward_norm"], x)[0])
        return x + y, Cache(k, v)

    x, cache = lax.scan(step, x, (params["blocks"], *cache))
    x = jnp.where(start + T <= L, x, jnp.nan)
    x = x[:, -1:] if last else x
    return ops.unembedding.fwd(norm.fwd(params["norm"], x)[0], table)[0], cache


def generate(
    config: GPTConfig,
    params: Params,
    prompt: Int[Array, "B T"],
    count: int,
    key,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Int[Array, "B count"]:
    """``count`` tokens that follow each row of ``prompt``, drawn from softmax(logits / ``temperature``).

    Of ``top_k`` the k likeliest alone are drawn; at temperature 0 it is the likeliest. Compiled once for a length of
    prompt. Raises ValueError for tokens out of range, none to begin with, or more than the context in all.
    """
    check_tokens(prompt, config.vocabulary)
    prompt = jnp.asarray(prompt, jnp.int32)  # a byte would hold no token above 255
    if prompt.ndim != 2 or not prompt.size or count < 1 or prompt.shape[1] + count > config.context:
        raise ValueError(
            f"generate wants a prompt (B, T) of at least one token and a count of at least one, together at most the "
            f"context of {config.context}; got {prompt.shape} and {count}"
        )
    if not 0 <= temperature < math.inf or (top_k is not None and not 1 <= top_k <= config.vocabulary):
        raise ValueError(
            f"generate wants a finite temperature >= 0 and top_k from 1 to {config.vocabulary}; "
            f"got {temperature} and {top_k}"
        )
    return _generate(config, count, top_k, temperature == 0, params, prompt, key, temperature or 1.0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _generate(config, count, top_k, greedy, params, prompt, key, temperature):
    batch, given = prompt.shape
    cache = empty_cache(config, batch, given + count, params["tokens"]["table"].dtype)
    logits, cache = cached_logits(config, params, prompt, cache, 0, last=True)

    def step(carry, number):
        logits, cache = carry
        token = _drawn(logits / temperature, jax.random.fold_in(key, number), top_k, greedy)
        logits, cache = cached_logits(config, params, token[:, None], cache, given + number)
        return (logits[:, -1], cache), token

    _, tokens = lax.scan(step, (logits[:, -1], cache), jnp.arange(count))
    return tokens.T


def _drawn(logits: Float[Array, "B V"], key, top_k: int | None, greedy: bool) -> Int[Array, "B"]:
    if greedy:
        return logits.argmax(axis=-1).astype(jnp.int32)
    if top_k is None:
        return jax.random.categorical(key, logits).astype(jnp.int32)
    likeliest, tokens = lax.top_k(logits, top_k)
    drawn = jax.random.categorical(key, likeliest).astype(tokens.dtype)
    return jnp.take_along_axis(tokens, drawn[:, None], axis=-1)[:, 0]
