"""A recurrent network that trains, made of your lstm, dense and cross_entropy.

It reads a picture row by row, and says in the end which digit it was:

    scores = dense(lstm(x)),   loss = cross_entropy(scores, labels)

x is (T, N, D): T rows of D pixels. Write its backward. Once it is right, it is trained by your gradients alone.
"""

import numpy as np
from cross_entropy import cross_entropy_backward, cross_entropy_forward
from dense import dense_backward, dense_forward
from jaxtyping import Float, Int
from lstm import lstm_backward, lstm_forward


def recurrent_scores(x, w, u, b, w2, b2):
    h, steps = lstm_forward(x, w, u, b)
    scores, second = dense_forward(h, w2, b2)
    return scores, (steps, second)


def recurrent_forward(
    x: Float[np.ndarray, "T N D"],
    labels: Int[np.ndarray, "N"],
    w: Float[np.ndarray, "4 D H"],
    u: Float[np.ndarray, "4 H H"],
    b: Float[np.ndarray, "4 H"],
    w2: Float[np.ndarray, "H K"],
    b2: Float[np.ndarray, "K"],
):
    scores, layers = recurrent_scores(x, w, u, b, w2, b2)
    loss, last = cross_entropy_forward(scores, labels)
    return loss, (layers, last)


def recurrent_backward(dloss, cache):
    """The backwards of the rules, from the last to the first.

    dscores = cross_entropy_b(dloss),   dh, dw2, db2 = dense_b(dscores),   _, dw, du, db = lstm_b(dh)
    """
    (steps, second), last = cache
    dscores = cross_entropy_backward(dloss, last)
    dh, dw2, db2 = dense_backward(dscores, second)
    _, dw, du, db = lstm_backward(dh, steps)
    return dw, du, db, dw2, db2
