"""Note 004: backpropagation through a ReLU layer and a softmax layer, and the step that follows."""

from __future__ import annotations

import jax
import numpy as np

import funcnet
from funcnet import ops, optimizers, serial

from .worked import backward, forward, law


def network(rng, n=5, sizes=(4, 7, 3)):
    """A ReLU layer, a softmax layer, n examples, one-hot labels, and the gradients that funcnet finds."""
    net = serial(funcnet.dense(sizes[1]), funcnet.relu(), funcnet.dense(sizes[2]))
    first, second = ({"w": rng.normal(size=s), "b": rng.normal(size=s[1])} for s in (sizes[:2], sizes[1:]))
    x, y = rng.normal(size=(n, sizes[0])), np.eye(sizes[2])[rng.integers(sizes[2], size=n)]
    params: tuple = (first, {}, second)
    _, gradient = funcnet.value_and_grad(net, ops.softmax_cross_entropy())(params, x, y, None)
    return params, x, y, gradient


def backpropagated(params, x, y):
    """The note's equations, example by example, with its column vectors and its W of (to, from), then averaged."""
    (w1, b1), (w2, b2) = ((layer["w"].T, layer["b"][:, None]) for layer in (params[0], params[2]))
    sums = [np.zeros_like(array) for array in (w1, b1, w2, b2)]
    for example_x, example_y in zip(x, y, strict=True):
        a0, target = example_x[:, None], example_y[:, None]
        z1 = w1 @ a0 + b1
        a1 = np.maximum(0, z1)
        exponentials = np.exp(w2 @ a1 + b2)
        delta2 = exponentials / exponentials.sum() - target
        delta1 = (w2.T @ delta2) * (z1 > 0)
        for total, term in zip(sums, (delta1 @ a0.T, delta1, delta2 @ a1.T, delta2), strict=True):
            total += term
    w1_sum, b1_sum, w2_sum, b2_sum = (total / len(x) for total in sums)
    return {"w": w1_sum.T, "b": b1_sum[:, 0]}, {}, {"w": w2_sum.T, "b": b2_sum[:, 0]}


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@law("004a", "δᴸ = a − y, by softmax's Jacobian on −y/a")
def delta_of_the_output(rng):
    z, y = rng.normal(size=(5, 3)), np.eye(3)[rng.integers(3, size=5)]
    a = forward(ops.softmax, z)
    da, _ = backward(ops.categorical_cross_entropy("sum"), a, y)
    return np.asarray(a) - y, backward(ops.softmax, z, dy=da)[0]


@law("004a", "δˡ = (Wˡ⁺¹)ᵀδˡ⁺¹ ⊙ σ′(zˡ): all gradients, averaged")
def backpropagation(rng):
    params, x, y, gradient = network(rng)
    return flat(backpropagated(params, x, y)), flat(gradient)


@law("004a", "the update: W − (η/n) Σ δ aᵀ, η = 1")
def update(rng, eta=1.0):
    params, x, y, gradient = network(rng)
    by_hand = jax.tree.map(lambda p, g: p - eta * g, params, backpropagated(params, x, y))
    optimizer = optimizers.sgd(eta)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return flat(by_hand), flat(optimizers.apply_updates(params, updates))
