"""Rotary position embedding, for the queries and keys of attention."""

from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..types import Below, Rule, ShapeError, at_least_float32, require_arrays


def rotary(base: float = 10000.0) -> Rule:
    """Rotary position embedding (Su et al. 2021): rotates q and k by position, so q·k depends on the distance alone.

    Feature i is paired with feature i + D/2, as in GPT-NeoX and Llama. The paper pairs 2i with 2i + 1: the same up to
    the order of the features. If D is odd, the last feature is not rotated. Raises ValueError unless ``base`` > 1.
    """
    if not base > 1:
        raise ValueError(f"rotary expects a base above 1; got {base}")

    def rotated(
        x: Float[Array, "*B T D"], positions: Int[Array, "T"] | None, direction: float
    ) -> Float[Array, "*B T D"]:
        half = x.shape[-1] // 2
        wide = x.astype(at_least_float32(x.dtype))
        t = jnp.arange(x.shape[-2]) if positions is None else positions
        speed = base ** (jnp.arange(half, dtype=wide.dtype) * (-1 / max(half, 1)))
        angle = t.astype(wide.dtype)[:, None] * speed[None, :]
        shape = (*x.shape[:-1], half)
        cos, sin = (jnp.broadcast_to(f, shape) for f in (jnp.cos(angle), direction * jnp.sin(angle)))
        a, b, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1).astype(x.dtype)

    def fwd(
        x: Float[Array, "*B T D"], positions: Annotated[Int[Array, "T"] | None, Below("T")] = None
    ) -> tuple[Float[Array, "*B T D"], Int[Array, "T"] | None]:
        """(y_i, y_{i+D/2}) = (x_i, x_{i+D/2}) rotated by the angle t·base^(−2i/D), for x (*B, T, D), i < D/2.

        ``positions`` (T,) are the t, by default 0, 1, …, T − 1. The angle is computed in float32 or wider.
        Raises ShapeError.
        """
        require_arrays("rotary", x, positions)
        if x.ndim < 2 or (positions is not None and positions.shape != x.shape[-2:-1]):
            got = "none" if positions is None else positions.shape
            raise ShapeError(f"rotary got x {x.shape}, positions {got}; it expects x (*B, T, D), positions (T,)")
        return rotated(x, positions, 1), positions

    def bwd(positions: Int[Array, "T"] | None, dy: Float[Array, "*B T D"]) -> tuple[Float[Array, "*B T D"], None]:
        """dx = dy rotated by the opposite angles: the transpose of a rotation is its inverse. Saves the positions."""
        return rotated(dy, positions, -1), None

    return Rule(fwd, bwd)
