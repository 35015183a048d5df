"""SiLU, or swish.

Element by element, with the sigmoid function σ(x) = 1/(1 + exp(−x)),

    y = x σ(x)

x appears twice: the product rule gives two terms.
"""

import numpy as np
from jaxtyping import Float


def silu_forward(x: Float[np.ndarray, "N D"]):
    s = 1 / (1 + np.exp(-x))
    y = x * s
    return y, (x, s)


def silu_backward(dy, cache):
    """The product rule: σ(x) + x σ'(x), with σ' = σ (1 − σ).

    dx = dy (σ + x σ (1 − σ))
    """
    x, s = cache
    dx = dy * (s + x * s * (1 - s))
    return dx
