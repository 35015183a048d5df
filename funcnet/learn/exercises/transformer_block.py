"""A block of a transformer, made of your layer_norm, multi_head, dense and relu.

Attention and a small network, each on a normalized input and each added to what it got:

    m = x + multi_head(norm(x)),   y = m + dense(relu(dense(norm(m))))

x, m and y are (T, D). The rules are yours: this backward calls theirs, from the last to the first. x and m reach y
along two paths each.
"""

import numpy as np
from dense import dense_backward, dense_forward
from jaxtyping import Float
from layer_norm import layer_norm_backward, layer_norm_forward
from multi_head import multi_head_backward, multi_head_forward
from relu import relu_backward, relu_forward


def transformer_block_forward(
    x: Float[np.ndarray, "T D"],
    gamma1: Float[np.ndarray, "D"],
    beta1: Float[np.ndarray, "D"],
    w: Float[np.ndarray, "3 D D"],
    wo: Float[np.ndarray, "D D"],
    gamma2: Float[np.ndarray, "D"],
    beta2: Float[np.ndarray, "D"],
    w1: Float[np.ndarray, "D H"],
    b1: Float[np.ndarray, "H"],
    w2: Float[np.ndarray, "H D"],
    b2: Float[np.ndarray, "D"],
):
    n1, norm1 = layer_norm_forward(x, gamma1, beta1)
    a, heads = multi_head_forward(n1, w, wo)
    m = x + a
    n2, norm2 = layer_norm_forward(m, gamma2, beta2)
    u, first = dense_forward(n2, w1, b1)
    r, bent = relu_forward(u)
    v, second = dense_forward(r, w2, b2)
    y = m + v
    return y, (norm1, heads, norm2, first, bent, second)


def transformer_block_backward(dy, cache):
    """y = m + v: both get dy. From v back to m, through dense, relu, dense and norm; what comes out is added to the dy
    that m got directly. The same again for x: what comes back through attention and norm is added to dm.

    dm = dy + norm2_b(dense1_b(relu_b(dense2_b(dy)))),   dx = dm + norm1_b(multi_head_b(dm))
    """
    norm1, heads, norm2, first, bent, second = cache
    dr, dw2, db2 = dense_backward(dy, second)
    du = relu_backward(dr, bent)
    dn2, dw1, db1 = dense_backward(du, first)
    back2, dgamma2, dbeta2 = layer_norm_backward(dn2, norm2)
    dm = dy + back2
    dn1, dw, dwo = multi_head_backward(dm, heads)
    back1, dgamma1, dbeta1 = layer_norm_backward(dn1, norm1)
    dx = dm + back1
    return dx, dgamma1, dbeta1, dw, dwo, dgamma2, dbeta2, dw1, db1, dw2, db2
