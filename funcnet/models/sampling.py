"""Sampling from a GPT, with cached keys and values."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .. import ops
from ..layers import layer_norm
from ..layers.attention import merge_heads, queries_keys_values
from ..types import Params, require_key
from .gpt import GPTConfig, feed_forward


def check_tokens(tokens: Any, vocabulary: int) -> None:
    """Raises ValueError for the first token that is no integer in [0, ``vocabulary``)."""
    found = np.asarray(tokens)
    wrong = found[(found < 0) | (found >= vocabulary)] if np.issubdtype(found.dtype, np.integer) else found.ravel()[:1]
    if wrong.size:
        raise ValueError(f"tokens are integers from 0 to {vocabulary - 1}; got {wrong[0]}")


class Cache(NamedTuple):
    """The keys and values of all blocks, for every token so far; entries not yet written are zero."""

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
    """The logits of T tokens, the first at position ``start``, and the cache with these tokens added.

    Earlier tokens are read from the cache, so the cost is that of T tokens; the logits equal those of ``gpt`` on all
    tokens at once. ``last`` returns only the last token's, (B, 1, V). Past the end of the cache they are NaN, as no
    value can raise under jit.
    """
    norm, mlp = layer_norm(), feed_forward(config)
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
        attending, feeding = p["attention"], p["feed_forward"]
        normed, _ = norm.fwd(attending["norm"], x)
        q, new_k, new_v, _ = queries_keys_values(attending["attention"]["qkv"], normed, heads, key_heads)
        if turn is not None:
            q, new_k = (turn.fwd(x, start + jnp.arange(T))[0] for x in (q, new_k))
        k, v = (lax.dynamic_update_slice_in_dim(old, new, start, -2) for old, new in ((k, new_k), (v, new_v)))
        y, _ = ops.attention().fwd(q, k, v, seen)
        y, _ = ops.dense.fwd(merge_heads(y), *(attending["attention"]["out"][name] for name in ("w", "b")))
        x = x + y
        y, _ = mlp.fwd(feeding["feed_forward"], norm.fwd(feeding["norm"], x)[0])
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

    With ``top_k``, draws only among the k likeliest; temperature 0 takes the likeliest. Compiles once per prompt
    length. Raises ValueError for tokens out of range, an empty prompt, or more tokens in all than the context.
    """
    require_key("generate", key)
    check_tokens(prompt, config.vocabulary)
    prompt = jnp.asarray(prompt, jnp.int32)  # a byte would hold no token above 255
    if prompt.ndim != 2 or not prompt.size or count < 1 or prompt.shape[1] + count > config.context:
        raise ValueError(
            f"generate expects a prompt (B, T) of at least one token and a count of at least one, together at most the "
            f"context of {config.context}; got {prompt.shape} and {count}"
        )
    if not 0 <= temperature < math.inf or (top_k is not None and not 1 <= top_k <= config.vocabulary):
        raise ValueError(
            f"generate expects a finite temperature >= 0 and top_k from 1 to {config.vocabulary}; "
            f"got {temperature} and {top_k}"
        )
    return _generate(config, count, top_k, temperature == 0, params, prompt, key, temperature or 1.0)


def generate_bytes(config: GPTConfig, params: Params, prompt: bytes, length: int, key, **settings: Any) -> bytes:
    """``length`` bytes after the prompt, of a GPT on bytes; once the context is full, they continue its second half.

    ``settings`` and errors are those of ``generate``.
    """
    written = prompt
    while len(written) < len(prompt) + length:
        seen = np.frombuffer(written[-(config.context // 2) :], np.uint8)[None].astype(np.int32)
        key, own = jax.random.split(key)
        count = min(config.context - seen.shape[1], length)
        more = generate(config, params, jnp.asarray(seen), count, own, **settings)
        written += np.asarray(more, np.uint8).tobytes()
    return written[: len(prompt) + length]


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
