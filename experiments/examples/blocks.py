"""A language model of one GPT block in Flax (Linen and NNX) and in Equinox, with the attention to choose.

Theirs is the framework's own attention with a causal mask; ours is ``ops.flash_attention``, by ``funcnet.bridge``. All
else is the framework's, and the parameters are the same in both, so a gradient of one may stand beside that of the
other. The last product is left to the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen, nnx

from funcnet import bridge, ops

Forward = Callable[[Any, Any], tuple[Any, Any]]
"""(model, tokens (N, T)) -> features (N, T, D) and the table (V, D) of the last product; in Linen the model is its
parameters."""


class Sizes(NamedTuple):
    vocabulary: int
    width: int
    heads: int
    by_hand: bool
    """Whether the attention is ours."""
    block: int = 128
    """Keys in a block of it."""


def attention_fn(block: int) -> Callable[..., Any]:
    """Our causal attention in the layout and the signature of Flax: (N, T, H, D), where ours is (N, H, T, D)."""
    attention = bridge.function(ops.flash_attention(causal=True, block=block))

    def call(query, key, value, mask=None, **settings):
        return attention(*(x.swapaxes(-2, -3) for x in (query, key, value)), mask).swapaxes(-2, -3)

    return call


# ---------------------------------------------------------------- Flax, Linen


class Linen(linen.Module):
    """Tokens (N, T) to the features (N, T, D) of the last product, and its table (V, D)."""

    sizes: Sizes

    @linen.compact
    def __call__(self, tokens):
        s = self.sizes
        own: dict[str, Any] = {"attention_fn": attention_fn(s.block)} if s.by_hand else {}
        mask = None if s.by_hand else linen.make_causal_mask(tokens, dtype=bool)
        embed = linen.Embed(s.vocabulary, s.width)
        x = embed(tokens)
        x = x + linen.MultiHeadDotProductAttention(s.heads, **own)(linen.LayerNorm()(x), mask=mask)
        x = x + linen.Dense(s.width)(linen.gelu(linen.Dense(4 * s.width)(linen.LayerNorm()(x))))
        return linen.LayerNorm()(x), embed.embedding


def in_linen(sizes: Sizes, key: Any) -> tuple[Any, Forward]:
    net = Linen(sizes)
    return net.init(key, jnp.zeros((1, 1), int)), net.apply


# ---------------------------------------------------------------- Flax, NNX


def linens_attention(query, key, value, mask=None, **settings):
    """Flax's other attention: NNX's own calls jax.nn's, whose softmax is in float32 whatever it gets."""
    return linen.dot_product_attention(query, key, value, mask=mask)


class NNX(nnx.Module):
    def __init__(self, sizes: Sizes, rngs: nnx.Rngs):
        self.sizes, width = sizes, sizes.width
        attend = attention_fn(sizes.block) if sizes.by_hand else linens_attention
        self.embed = nnx.Embed(sizes.vocabulary, width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(sizes.heads, width, decode=False, attention_fn=attend, rngs=rngs)
        self.hidden, self.out = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        self.norm_1, self.norm_2, self.norm_3 = (nnx.LayerNorm(width, rngs=rngs) for _ in range(3))

    def __call__(self, tokens):
        mask = None if self.sizes.by_hand else nnx.make_causal_mask(tokens, dtype=bool)
        x = self.embed(tokens)
        x = x + self.attention(self.norm_1(x), mask=mask)
        x = x + self.out(nnx.gelu(self.hidden(self.norm_2(x))))
        return self.norm_3(x), self.embed.embedding[...]


def in_nnx(sizes: Sizes, key: Any) -> tuple[Any, Forward]:
    return NNX(sizes, nnx.Rngs(key)), lambda model, tokens: model(tokens)


# ---------------------------------------------------------------- Equinox


class Equinox(eqx.Module):
    """Of one example: tokens (T,) to features (T, D)."""

    sizes: Sizes = eqx.field(static=True)
    embed: eqx.nn.Embedding
    attention: eqx.nn.MultiheadAttention
    hidden: eqx.nn.Linear
    out: eqx.nn.Linear
    norms: list[eqx.nn.LayerNorm]

    def __init__(self, sizes: Sizes, key: Any):
        keys = jax.random.split(key, 4)
        self.sizes, width = sizes, sizes.width
        self.embed = eqx.nn.Embedding(sizes.vocabulary, width, key=keys[0])
        self.attention = eqx.nn.MultiheadAttention(sizes.heads, width, key=keys[1])
        self.hidden = eqx.nn.Linear(width, 4 * width, key=keys[2])
        self.out = eqx.nn.Linear(4 * width, width, key=keys[3])
        self.norms = [eqx.nn.LayerNorm(width) for _ in range(3)]

    def __call__(self, tokens):
        x = jax.vmap(self.embed)(tokens)
        h = jax.vmap(self.norms[0])(x)
        x = x + (self.attend_by_hand(h) if self.sizes.by_hand else self.attention(h, h, h, jnp.tri(len(x), dtype=bool)))
        x = x + jax.vmap(lambda h: self.out(jax.nn.gelu(self.hidden(h))))(jax.vmap(self.norms[1])(x))
        return jax.vmap(self.norms[2])(x)

    def attend_by_hand(self, x):
        """Equinox's layer takes no attention of another's, so its maps are applied one by one."""
        a = self.attention
        q, k, v = (
            jax.vmap(project)(x).reshape(len(x), self.sizes.heads, -1)
            for project in (a.query_proj, a.key_proj, a.value_proj)
        )
        y = attention_fn(self.sizes.block)(q, k, v)
        return jax.vmap(a.output_proj)(y.reshape(len(x), -1))


def in_equinox(sizes: Sizes, key: Any) -> tuple[Any, Forward]:
    return Equinox(sizes, key), lambda model, tokens: (jax.vmap(model)(tokens), model.embed.weight)


FRAMEWORKS: dict[str, Callable[[Sizes, Any], tuple[Any, Forward]]] = {
    "Flax Linen": in_linen,
    "Flax NNX": in_nnx,
    "Equinox": in_equinox,
}
