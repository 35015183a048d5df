"""A perceptron in NumPy, as the notes write one; and its products alone, the limit of what the machine could do."""

import itertools

import numpy as np

from .work import Peer, Work, parametric


def prepare(work: Work) -> Peer:
    weights = [[layer["w"].copy(), layer["b"].copy()] for layer in parametric(work.params)]

    def forward(x):
        inputs = []
        for i, (w, b) in enumerate(weights):
            inputs.append(x)
            x = x @ w + b
            if i < len(weights) - 1:
                np.maximum(x, 0, out=x)
        return x, inputs

    def epoch(order):
        for rows in order:
            z, inputs = forward(work.x[rows])
            d = np.exp(z - z.max(axis=1, keepdims=True))
            d /= d.sum(axis=1, keepdims=True)
            d[np.arange(len(rows)), work.labels[rows]] -= 1
            d /= len(rows)
            for i in reversed(range(len(weights))):
                w, b = weights[i]
                dw, db = inputs[i].T @ d, d.sum(axis=0)
                if i:
                    d = (d @ w.T) * (inputs[i] > 0)
                w -= work.rate * dw
                b -= work.rate * db

    return Peer(epoch, lambda x: forward(x)[0])


def products(work: Work) -> Peer:
    """x w, xᵀ dy and dy wᵀ of every layer, but no gradient of the input of the first, into arrays that are there."""
    sizes = work.x.shape[1], *work.units
    rng = np.random.default_rng(0)
    xs = [rng.random((work.batch, size), np.float32) for size in sizes]
    ws = [rng.random(pair, np.float32) for pair in itertools.pairwise(sizes)]
    ys, dws, dxs = ([np.empty_like(a) for a in arrays] for arrays in (xs[1:], ws, xs))

    def epoch(order):
        for _ in order:
            for i, w in enumerate(ws):
                np.matmul(xs[i], w, out=ys[i])
                np.matmul(xs[i].T, xs[i + 1], out=dws[i])
                if i:
                    np.matmul(xs[i + 1], w.T, out=dxs[i])

    return Peer(epoch, lambda x: np.full((len(x), sizes[-1]), np.nan))
