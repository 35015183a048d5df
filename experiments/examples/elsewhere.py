"""Two worked examples from elsewhere, with numbers that others computed.

CS231n: the two-layer toy of Stanford's first assignment, "two_layer_net" (4 inputs, 10 hidden units, 3 classes).
Mazur: "A Step by Step Backpropagation Example" (2015), two inputs, two hidden and two output neurons, all sigmoid.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import funcnet
from funcnet import ops, optimizers, serial

from .worked import example, forward

# ---------------------------------------------------------------- CS231n


def toy(seed: int):
    """The network, its parameters by NumPy's generator of old, and five examples of the next seed."""
    rng, data = np.random.RandomState(seed), np.random.RandomState(seed + 1)
    first, second = ({"w": 0.1 * rng.randn(i, o), "b": np.zeros(o)} for i, o in ((4, 10), (10, 3)))
    net = serial(funcnet.dense(10), funcnet.relu(), funcnet.dense(3))
    return net, (first, {}, second), 10 * data.randn(5, 4), jnp.array([0, 1, 2, 2, 1])


@example("CS231n", "the two-layer toy, seeds 0 and 1: the scores", decimals=8)
def scores(seed=0):
    published = [
        [-0.81233741, -1.27654624, -0.70335995],
        [-0.17129677, -1.18803311, -0.47310444],
        [-0.51590475, -1.01354314, -0.8504215],
        [-0.15419291, -0.48629638, -0.52901952],
        [-0.00618733, -0.12435261, -0.15226949],
    ]
    net, params, x, _ = toy(seed)
    return published, net.fwd(params, x)[0]


@example("CS231n", "its loss, with .05 ΣW²", decimals=11)
def loss(seed=0, regularisation=0.05):
    """funcnet's strength is the rate of decay, which is twice the factor of the square."""
    net, params, x, labels = toy(seed)
    run = funcnet.value_and_grad(net, ops.sparse_softmax_cross_entropy(), ops.l2(2 * regularisation))
    return 1.30378789133, run(params, x, labels, None)[0]


# ---------------------------------------------------------------- Mazur

WEIGHTS = [0.15, 0.20, 0.25, 0.30, 0.40, 0.45, 0.50, 0.55]  # w1 to w8
INPUTS, TARGETS = [0.05, 0.10], [0.01, 0.99]


def mazur(w: list, inputs: list, targets: list):
    """The network, its parameters (w1, w2 lead to the first hidden neuron), the input and the targets."""
    w1, w2 = (np.reshape(half, (2, 2)).T for half in (w[:4], w[4:]))
    params: tuple = ({"w": w1, "b": np.full(2, 0.35)}, {}, {"w": w2, "b": np.full(2, 0.60)}, {})
    net = serial(funcnet.dense(2), funcnet.sigmoid(), funcnet.dense(2), funcnet.sigmoid())
    return net, params, np.array([inputs]), np.array([targets])


@example("Mazur", "the outputs of the hidden layer and of the network", decimals=8)
def outputs(w=WEIGHTS, inputs=INPUTS):
    net, params, x, _ = mazur(w, inputs, TARGETS)
    hidden = forward(ops.sigmoid, forward(ops.dense, x, params[0]["w"], params[0]["b"]))
    return [[0.59326999, 0.59688438], [0.75136507, 0.77292847]], np.concatenate([hidden, net.fwd(params, x)[0]])


@example("Mazur", "the error E", decimals=9)
def error(w=WEIGHTS, inputs=INPUTS, targets=TARGETS):
    """Σ ½(t − o)² over two outputs is their mean squared error."""
    net, params, x, t = mazur(w, inputs, targets)
    return 0.298371109, funcnet.value_and_grad(net, ops.mean_squared_error())(params, x, t, None)[0]


@example("Mazur", "w1 to w8 after a step of η = .5", decimals=8)
def step(w=WEIGHTS, inputs=INPUTS, targets=TARGETS):
    published = [0.14978072, 0.19956143, 0.24975114, 0.29950229, 0.35891648, 0.40866619, 0.51130127, 0.56137012]
    net, params, x, t = mazur(w, inputs, targets)
    _, gradient = funcnet.value_and_grad(net, ops.mean_squared_error())(params, x, t, None)
    optimizer = optimizers.sgd(0.5)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    stepped = optimizers.apply_updates(params, updates)
    return published, np.concatenate([np.ravel(stepped[i]["w"].T) for i in (0, 2)])
