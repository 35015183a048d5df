"""Rotary positions.

Row t of x is rotated, in pairs of columns, by angles that grow with t (Su et al. 2021). With D even, column i of the
first half and column i of the second half are a pair, and φ_ti = t/10000^(2i/D):

    y₁ = x₁ cos φ − x₂ sin φ,   y₂ = x₁ sin φ + x₂ cos φ

where x₁, x₂ are the halves of x. A rotation has no parameters. Find dx. What undoes a rotation?
"""

import numpy as np
from jaxtyping import Float


def rotary_forward(x: Float[np.ndarray, "T D"]):
    half = x.shape[1] // 2
    angles = np.arange(len(x))[:, None] / 10000 ** (np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    x1, x2 = x[:, :half], x[:, half:]
    y1 = x1 * cos - x2 * sin
    y2 = x1 * sin + x2 * cos
    y = np.concatenate([y1, y2], axis=1)
    return y, (cos, sin)


def rotary_backward(dy, cache):
    """x₁ takes part in y₁ with cos φ and in y₂ with sin φ; x₂ in y₁ with −sin φ and in y₂ with cos φ.

    That is the transpose of the rotation, which is the rotation back, by −φ.

    dx₁ = dy₁ cos φ + dy₂ sin φ,   dx₂ = −dy₁ sin φ + dy₂ cos φ
    """
    cos, sin = cache
    half = cos.shape[1]
    d1, d2 = dy[:, :half], dy[:, half:]
    dx = np.concatenate([d1 * cos + d2 * sin, d2 * cos - d1 * sin], axis=1)
    return dx
