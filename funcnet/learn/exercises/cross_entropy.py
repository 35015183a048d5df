"""Softmax and cross-entropy together, from labels.

Row n of z holds the scores of K classes, and labels_n is the right class. With p = softmax(z), along the rows,

    loss = −1/N Σ_n log p_n,labels_n

Find dz. You could go through the derivatives of the logarithm and of the softmax; the product of both is much simpler
than either. Begin with −log p_c = log Σ_j exp(z_j) − z_c.
"""

import numpy as np
from jaxtyping import Float, Int


def cross_entropy_forward(z: Float[np.ndarray, "N K"], labels: Int[np.ndarray, "N"]):
    rows = np.arange(len(z))
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    loss = -np.mean(np.log(p[rows, labels]))
    return loss, (p, rows, labels)


def cross_entropy_backward(dloss, cache):
    """The derivative of log Σ_j exp(z_j) with respect to z_k is exp(z_k)/Σ_j exp(z_j) = p_k; that of z_c is [k = c].

    So each row gives p − onehot(label), and the mean over the rows divides by N.

    dz = dloss (p − onehot(labels)) / N
    """
    p, rows, labels = cache
    dz = p.copy()
    dz[rows, labels] -= 1
    dz = dloss * dz / len(p)
    return dz
