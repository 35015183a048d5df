"""A convolution of pictures.

A window of 3 × 3 pixels moves over x; w holds a matrix for each place in the window. x is (N, H, W, C), w is
(3, 3, C, M), b is (M,), y is (N, H − 2, W − 2, M):

    y_ij = Σ_a,b x_i+a,j+b w_ab + b

Nine dense layers on shifted pieces of x, added up. Find dx, dw and db. A pixel takes part in up to nine results.
"""

import numpy as np
from jaxtyping import Float


def conv2d_forward(x: Float[np.ndarray, "N H W C"], w: Float[np.ndarray, "3 3 C M"], b: Float[np.ndarray, "M"]):
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    places = [(i, j) for i in range(3) for j in range(3)]
    y = sum(x[:, i : i + rows, j : j + columns] @ w[i, j] for i, j in places) + b
    return y, (x, w, places)


def conv2d_backward(dy, cache):
    """Each place (a, b) of the window is a dense layer on its piece of x: its gradients are dy w_abᵀ and pieceᵀ dy.

    The pieces overlap: what they give to x is added, each where it came from. For w_ab and for b the sum runs over the
    examples and over all pixels of the result.

    dx_ij = Σ_a,b dy_i−a,j−b w_abᵀ,   dw_ab = Σ_n,i,j x_i+a,j+bᵀ dy_ij,   db = Σ_n,i,j dy_ij
    """
    x, w, places = cache
    rows, columns = dy.shape[1:3]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j in places:
        dx[:, i : i + rows, j : j + columns] += dy @ w[i, j].T
        dw[i, j] = np.tensordot(x[:, i : i + rows, j : j + columns], dy, axes=((0, 1, 2), (0, 1, 2)))
    db = dy.sum(axis=(0, 1, 2))
    return dx, dw, db
