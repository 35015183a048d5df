"""Average pooling.

Each block of 2 × 2 pixels becomes its mean. x is (N, H, W, C) with even H and W, y is (N, H/2, W/2, C):

    y_nijc = mean of x_n,2i+a,2j+b,c  over a, b in {0, 1}

Find dx: how much of dy does each of the four pixels get?
"""

import numpy as np
from jaxtyping import Float


def average_pool_forward(x: Float[np.ndarray, "N H W C"]):
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c)
    y = blocks.mean(axis=(2, 4))
    return y, x.shape


def average_pool_backward(dy, cache):
    """Each pixel stands in one block, with the factor 1/4: it gets a quarter of the dy of its block.

    dx_n,2i+a,2j+b,c = dy_nijc / 4
    """
    shape = cache
    dx = np.repeat(np.repeat(dy, 2, axis=1), 2, axis=2) / 4
    dx = dx.reshape(shape)
    return dx
