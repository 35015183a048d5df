"""A convolution along one axis.

A window of three steps moves along x; w holds a matrix for each place in the window. x is (N, L, C), w is (3, C, M),
y is (N, L − 2, M):

    y_l = x_l w_0 + x_l+1 w_1 + x_l+2 w_2

That is three dense layers on shifted pieces of x, added up. Find dx and dw: three dense backwards, each put back to
where its piece came from. A step of x takes part in up to three results.
"""

import numpy as np
from jaxtyping import Float


def conv1d_forward(x: Float[np.ndarray, "N L C"], w: Float[np.ndarray, "3 C M"]):
    length = x.shape[1] - 2
    y = sum(x[:, k : k + length] @ w[k] for k in range(3))
    return y, (x, w)


def conv1d_backward(dy, cache):
    """Place k of the window is a dense layer on the piece x_k … x_k+L−3: its gradients are dy w_kᵀ and pieceᵀ dy.

    The pieces overlap, so what they give to x is added, each at its own shift. For w_k the sum runs over the examples
    and over the steps.

    dx_l = Σ_k dy_l−k w_kᵀ,   dw_k = Σ_n,l x_l+kᵀ dy_l
    """
    x, w = cache
    length = dy.shape[1]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for k in range(3):
        dx[:, k : k + length] += dy @ w[k].T
        dw[k] = np.tensordot(x[:, k : k + length], dy, axes=((0, 1), (0, 1)))
    return dx, dw
