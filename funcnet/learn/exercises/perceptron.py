"""A perceptron that trains, made of your dense, relu and cross_entropy.

    scores = dense(relu(dense(x))),   loss = cross_entropy(scores, labels)

Write its backward: it calls the backwards of your rules, from the last to the first. Once it is right, the network is
trained on handwritten digits by your gradients alone.
"""

import numpy as np
from cross_entropy import cross_entropy_backward, cross_entropy_forward
from dense import dense_backward, dense_forward
from jaxtyping import Float, Int
from relu import relu_backward, relu_forward


def perceptron_scores(x, w1, b1, w2, b2):
    a, first = dense_forward(x, w1, b1)
    h, bent = relu_forward(a)
    scores, second = dense_forward(h, w2, b2)
    return scores, (first, bent, second)


def perceptron_forward(
    x: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    w1: Float[np.ndarray, "D H"],
    b1: Float[np.ndarray, "H"],
    w2: Float[np.ndarray, "H K"],
    b2: Float[np.ndarray, "K"],
):
    scores, layers = perceptron_scores(x, w1, b1, w2, b2)
    loss, last = cross_entropy_forward(scores, labels)
    return loss, (layers, last)


def perceptron_backward(dloss, cache):
    """Each rule gets the gradient of its result and gives that of its arguments; the first of these goes on back.

    dscores = cross_entropy_b(dloss),   dh, dw2, db2 = dense_b(dscores),   da = relu_b(dh),   _, dw1, db1 = dense_b(da)
    """
    (first, bent, second), last = cache
    dscores = cross_entropy_backward(dloss, last)
    dh, dw2, db2 = dense_backward(dscores, second)
    da = relu_backward(dh, bent)
    _, dw1, db1 = dense_backward(da, first)
    return dw1, db1, dw2, db2
