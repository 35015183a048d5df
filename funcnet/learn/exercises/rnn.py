"""A recurrent network through time, made of your rnn_step.

x is (T, N, D), one input for each step; h is the first state. The result holds the states after every step, (T, N, H):

    h_t = step(x_t, h_t−1)

Go backward from the last step to the first. The state h_t is a result, so it gets dy_t; and the next step used it, so
it gets what came back from there. The weights are used at every step.
"""

import numpy as np
from jaxtyping import Float
from rnn_step import rnn_step_backward, rnn_step_forward


def rnn_forward(
    x: Float[np.ndarray, "T N D"],
    h: Float[np.ndarray, "N H"],
    wx: Float[np.ndarray, "D H"],
    wh: Float[np.ndarray, "H H"],
    b: Float[np.ndarray, "H"],
):
    states, caches = [], []
    for t in range(len(x)):
        h, cache = rnn_step_forward(x[t], h, wx, wh, b)
        states.append(h)
        caches.append(cache)
    y = np.stack(states)
    return y, caches


def rnn_backward(dy, cache):
    """h_t reaches the loss as a result, by dy_t, and through step t + 1, by the dh that this one gives back: the step's
    dnext is the sum of both. After the last step nothing comes back. The weights get something from each step.

    dnext_t = dy_t + dh_t+1,   (dx_t, dh_t, …) = step_backward(dnext_t),   dh = dh_1,   dwx = Σ_t dwx_t, …
    """
    steps, dwx, dwh, db = len(dy), 0, 0, 0
    inputs, dh = [dy] * steps, np.zeros(dy.shape[1:])
    for t in reversed(range(steps)):
        inputs[t], dh, dwx_t, dwh_t, db_t = rnn_step_backward(dy[t] + dh, cache[t])
        dwx = dwx + dwx_t
        dwh = dwh + dwh_t
        db = db + db_t
    dx = np.stack(inputs)
    return dx, dh, dwx, dwh, db
