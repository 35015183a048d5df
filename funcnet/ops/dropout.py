"""Dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ..types import Rule, require_arrays, require_key


def dropout(rate: float = 0.5) -> Rule:
    """Inverted dropout; ``rate`` is the probability of *dropping* an element (Srivastava et al. 2014).

    Raises ValueError unless 0 <= rate < 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout's rate is the probability of dropping, in [0, 1); got {rate}")
    scale = 1 / (1 - rate)

    def fwd(x: Float[Array, "*B"], key: Key[Array, ""] | None) -> tuple[Float[Array, "*B"], Bool[Array, "*B"] | None]:
        """y = x m / (1 − rate), with m ~ Bernoulli(1 − rate) drawn from ``key``; y = x if key is None.

        The division keeps the mean of y at x, so inference needs no rescaling.
        """
        require_arrays("dropout", x)
        if key is None or rate == 0:
            return x, None
        kept = jax.random.bernoulli(
            require_key("dropout", key), jnp.float32(1 - rate), x.shape
        )  # the same in every dtype, with x64 or without
        return jnp.where(kept, x * scale, jnp.zeros_like(x)), kept

    def bwd(kept: Bool[Array, "*B"] | None, dy: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], None]:
        """dx = dy m / (1 − rate), with the saved mask of the forward; dx = dy in inference."""
        if kept is None:
            return dy, None
        return jnp.where(kept, dy * scale, jnp.zeros_like(dy)), None

    return Rule(fwd, bwd)
