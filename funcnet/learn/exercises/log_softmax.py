"""Log-softmax: the logarithms of probabilities.

Along the last axis,

    y_i = x_i − log Σ_j exp(x_j)

Its exponentials are the softmax of x. x_j reaches y_j directly, and every y_i of the row through the sum: what is the
derivative of log Σ exp(x) with respect to x_j?
"""

import numpy as np
from jaxtyping import Float


def log_softmax_forward(x: Float[np.ndarray, "N D"]):
    shifted = x - x.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    y = shifted - np.log(total)
    return y, y


def log_softmax_backward(dy, cache):
    """∂(log Σ_i exp(x_i))/∂x_j = exp(x_j)/Σ_i exp(x_i) = exp(y_j). Directly x_j gives dy_j; through the sum every y_i
    of the row loses exp(y_j): −exp(y_j) Σ_i dy_i.

    dx = dy − exp(y) Σ_i dy_i,   the sum along the last axis
    """
    y = cache
    dx = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
    return dx
