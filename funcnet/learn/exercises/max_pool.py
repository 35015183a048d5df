"""Max pooling.

Of each block of 2 × 2 pixels the largest is kept. x is (N, H, W, C) with even H and W, y is (N, H/2, W/2, C):

    y_nijc = max of x_n,2i+a,2j+b,c  over a, b in {0, 1}

Find dx: which of the four pixels gets dy, and what do the others get? Where several are
the largest, as zeros often are after a ReLU, they share dy evenly.
"""

import numpy as np
from jaxtyping import Float


def max_pool_forward(x: Float[np.ndarray, "N H W C"]):
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c)
    y = blocks.max(axis=(2, 4))
    return y, (blocks, y, x.shape)


def max_pool_backward(dy, cache):
    """y moves with the largest pixel alone: that one gets dy, the others 0; if n are the largest, each gets dy/n.
    With two axes of size one put where the block has its two, y and dy stand beside the pixels of their block.

    dx = dy/n where x is one of the n largest of its block,   0 elsewhere
    """
    blocks, y, shape = cache
    largest = blocks == y[:, :, None, :, None, :]
    count = largest.sum(axis=(2, 4), keepdims=True)
    dx = (largest * dy[:, :, None, :, None, :] / count).reshape(shape)
    return dx
