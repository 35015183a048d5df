"""An LSTM through time, made of your lstm_step.

x is (T, N, D), one input for each step; the first state and the first cell are zeros. The result is the last state:

    h_t, c_t = step(x_t, h_t−1, c_t−1),   y = h_T

Go backward from the last step to the first: two gradients travel back, dh and dc. The weights are used at every step.
"""

import numpy as np
from jaxtyping import Float
from lstm_step import lstm_step_backward, lstm_step_forward


def lstm_forward(
    x: Float[np.ndarray, "T N D"],
    w: Float[np.ndarray, "4 D H"],
    u: Float[np.ndarray, "4 H H"],
    b: Float[np.ndarray, "4 H"],
):
    h = c = np.zeros((x.shape[1], b.shape[1]))
    caches = []
    for t in range(len(x)):
        h, c, cache = lstm_step_forward(x[t], h, c, w, u, b)
        caches.append(cache)
    return h, caches


def lstm_backward(dy, cache):
    """The last state is the result, so the last step gets dh = dy; its cell goes nowhere else: dc = 0.

    Every step gives back the dh and the dc of the step before it, which are these gradients there. The weights get the
    sum of what each step gives.

    (dx_t, dh_t−1, dc_t−1, dw_t, du_t, db_t) = step_backward(dh_t, dc_t),   dh_T = dy,   dc_T = 0
    dw = Σ_t dw_t,   du = Σ_t du_t,   db = Σ_t db_t
    """
    steps, dw, du, db = len(cache), 0, 0, 0
    inputs, dh, dc = [dy] * steps, dy, np.zeros(dy.shape)
    for t in reversed(range(steps)):
        inputs[t], dh, dc, dw_t, du_t, db_t = lstm_step_backward(dh, dc, cache[t])
        dw = dw + dw_t
        du = du + du_t
        db = db + db_t
    dx = np.stack(inputs)
    return dx, dw, du, db
