"""An embedding: a table of vectors, looked up by number.

tokens (N,) are whole numbers below V, table is (V, D), and

    y_n = table[tokens_n]

Find dtable. A row that is looked up several times takes part in several results; one that is never looked up takes part
in none.
"""

import numpy as np
from jaxtyping import Float, Int


def embedding_forward(table: Float[np.ndarray, "V D"], tokens: Int[np.ndarray, "N"]):
    y = table[tokens]
    return y, (table.shape, tokens)


def embedding_backward(dy, cache):
    """Row v of the table is y_n wherever tokens_n = v: its gradient is the sum of these dy_n, and 0 if there are none.

    dtable[tokens] += dy would keep one of several; np.add.at adds them all.

    dtable_v = Σ_n [tokens_n = v] dy_n
    """
    shape, tokens = cache
    dtable = np.zeros(shape)
    np.add.at(dtable, tokens, dy)
    return dtable
