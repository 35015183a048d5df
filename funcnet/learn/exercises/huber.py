"""The Huber loss.

With the error r = p − t, small errors are squared and large ones are not (Huber 1964):

    loss = mean of  r²/2  where |r| ≤ δ,   δ (|r| − δ/2)  elsewhere,   δ = 1

Find dp: one slope for each part. What happens to the pull of an outlier?
"""

import numpy as np
from jaxtyping import Float


def huber_forward(p: Float[np.ndarray, "N"], t: Float[np.ndarray, "N"], delta=1.0):
    r = p - t
    small = np.abs(r) <= delta
    terms = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
    loss = np.mean(terms)
    return loss, (r, small, delta)


def huber_backward(dloss, cache):
    """The slope of r²/2 is r; that of δ (|r| − δ/2) is δ sign(r): however far off, it pulls no harder than δ.

    dp = dloss/N · r where |r| ≤ δ,   dloss/N · δ sign(r) elsewhere
    """
    r, small, delta = cache
    slope = np.where(small, r, delta * np.sign(r))
    dp = dloss * slope / r.size
    return dp
