"""Binary cross-entropy, from scores.

A score z says how likely a yes is: p = σ(z) = 1/(1 + exp(−z)). The targets t are 0, 1 or between. The loss is the mean
over all N of −t log p − (1 − t) log(1 − p), which is

    loss = 1/N Σ (log(1 + exp(z)) − t z)

(why?). Find dz. It has a short form in p and t.
"""

import numpy as np
from jaxtyping import Float


def binary_cross_entropy_forward(z: Float[np.ndarray, "N"], t: Float[np.ndarray, "N"]):
    terms = np.logaddexp(0, z) - t * z
    loss = np.mean(terms)
    return loss, (z, t)


def binary_cross_entropy_backward(dloss, cache):
    """The derivative of log(1 + exp(z)) is exp(z)/(1 + exp(z)) = σ(z), and that of t z is t. The mean divides by N.

    dz = dloss (σ(z) − t) / N
    """
    z, t = cache
    p = 1 / (1 + np.exp(-z))
    dz = dloss * (p - t) / z.size
    return dz
