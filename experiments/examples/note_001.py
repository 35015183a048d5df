"""Note 001: the weighted sum, its bias, ReLU, the mean squared error, and what a gradient says."""

from __future__ import annotations

import numpy as np

import funcnet
from funcnet import ops, serial

from .worked import backward, example, forward, law


@law("001a", "the bias shifts the activation: σ(wx + b) = σ(w(x + b/w))")
def bias_shifts(rng):
    x, w, b = rng.normal(size=(11, 1)), rng.uniform(0.5, 2, size=(1, 1)), rng.normal(size=1)
    shifted = 1 / (1 + np.exp(-w * (x + b / w)))
    return shifted, forward(ops.sigmoid, forward(ops.dense, x, w, b))


@example("001a", "ReLU at 2, 0, −1, and its derivative there", decimals=8)
def relu(z=[2.0, 0.0, -1.0]):  # noqa: B006
    return [[2, 0, 0], [1, 0, 0]], np.stack([forward(ops.relu, z), *backward(ops.relu, z)])


@law("001a", "the mean squared error, and 2(a − y)/(N·K), its derivative")
def mean_squared_error(rng):
    a, y = rng.normal(size=(2, 5, 3))
    value, (da, _) = forward(ops.mean_squared_error(), a, y), backward(ops.mean_squared_error(), a, y)
    return np.append(2 * (a - y) / a.size, np.mean((a - y) ** 2)), np.append(da, value)


@example("001b", "gradients 3.2 and .1: one weight matters 32 times more", decimals=2)
def nudges(x=[[3.2, 0.1]], nudge=1e-6):  # noqa: B006
    """The cost (w·x + b)² at w = 0, b = ½ has the gradient x; what a small nudge of each weight adds to it."""
    net, target = serial(funcnet.dense(1)), np.zeros((1, 1))
    inputs = np.array(x)

    def cost(w):
        run = funcnet.value_and_grad(net, ops.mean_squared_error())
        return run(({"w": w, "b": np.array([0.5])},), inputs, target, None)

    w = np.zeros((2, 1))
    before, (gradient,) = cost(w)
    steps = [cost(w + nudge * np.eye(2)[:, [i]])[0] - before for i in range(2)]
    return [3.2, 0.1, 32], [*gradient["w"][:, 0], steps[0] / steps[1]]


@law("001c", "the chain rule: ∂C/∂w = ∂C/∂a · ∂a/∂z · ∂z/∂w")
def chain_rule(rng):
    x, w, b, y = rng.normal(size=(1, 4)), rng.normal(size=(4, 1)), rng.normal(size=1), rng.normal(size=(1, 1))
    z = x @ w + b
    a = 1 / (1 + np.exp(-z))
    factors = 2 * (a - y) * (a * (1 - a)) * x.T
    net = serial(funcnet.dense(1), funcnet.sigmoid())
    _, gradient = funcnet.value_and_grad(net, ops.mean_squared_error())(({"w": w, "b": b}, {}), x, y, None)
    return factors, gradient[0]["w"]


@example("001c", "three ways to move a neuron: by b, w, or the a before it", decimals=8)
def influences(x=[1.0, 2.0, 3.0, 2.5], w=[[0.2], [0.8], [-0.5], [1.0]], b=[2.0]):  # noqa: B006
    """A weight counts by its activation, an activation by its weight, the bias by 1."""
    dx, dw, db = backward(ops.dense, x, w, b)
    return [[1, 1, 1, 1], [1, 2, 3, 2.5], [0.2, 0.8, -0.5, 1.0]], np.stack([np.repeat(db, 4), dw[:, 0], dx])
