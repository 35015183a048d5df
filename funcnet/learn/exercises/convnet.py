"""A convolutional network that trains, made of your conv2d, relu, max_pool, dense and cross_entropy.

    scores = dense(flat(max_pool(relu(conv2d(x))))),   loss = cross_entropy(scores, labels)

x is (N, H, W, 1), pictures in grey. Between pooling and the dense layer each picture is laid out as one row: what comes
back has to be brought into the shape of the picture again. Once it is right, it is trained by your gradients alone.
"""

import numpy as np
from conv2d import conv2d_backward, conv2d_forward
from cross_entropy import cross_entropy_backward, cross_entropy_forward
from dense import dense_backward, dense_forward
from jaxtyping import Float, Int
from max_pool import max_pool_backward, max_pool_forward
from relu import relu_backward, relu_forward


def convnet_scores(x, w1, b1, w2, b2):
    a, window = conv2d_forward(x, w1, b1)
    h, bent = relu_forward(a)
    small, pooled = max_pool_forward(h)
    scores, second = dense_forward(small.reshape(len(x), -1), w2, b2)
    return scores, (window, bent, pooled, small.shape, second)


def convnet_forward(
    x: Float[np.ndarray, "N H W 1"],
    labels: Int[np.ndarray, "N"],
    w1: Float[np.ndarray, "3 3 1 C"],
    b1: Float[np.ndarray, "C"],
    w2: Float[np.ndarray, "F K"],
    b2: Float[np.ndarray, "K"],
):
    scores, layers = convnet_scores(x, w1, b1, w2, b2)
    loss, last = cross_entropy_forward(scores, labels)
    return loss, (layers, last)


def convnet_backward(dloss, cache):
    """The backwards of the rules, from the last to the first; reshape is undone by reshape.

    dscores = cross_entropy_b(dloss),   dflat, dw2, db2 = dense_b(dscores),   dh = max_pool_b(dflat as a picture)
    da = relu_b(dh),   _, dw1, db1 = conv2d_b(da)
    """
    (window, bent, pooled, shape, second), last = cache
    dscores = cross_entropy_backward(dloss, last)
    dflat, dw2, db2 = dense_backward(dscores, second)
    dh = max_pool_backward(dflat.reshape(shape), pooled)
    da = relu_backward(dh, bent)
    _, dw1, db1 = conv2d_backward(da, window)
    return dw1, db1, dw2, db2
