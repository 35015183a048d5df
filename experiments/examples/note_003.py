"""Note 003: why an activation is needed, softmax and sigmoid, rows and columns, slopes, a step of gradient descent."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from funcnet import dense, ops, optimizers, relu, serial

from .worked import backward, example, forward, law


def two_layers(rng, *between):
    """Two dense layers, perhaps with something in between, and their parameters."""
    first, second = ({"w": rng.normal(size=s), "b": rng.normal(size=s[1])} for s in ((4, 7), (7, 3)))
    return serial(dense(7), *between, dense(3)), (first, *({} for _ in between), second)


@law("003a", "linear layers compose: x W₁W₂ + (b₁W₂ + b₂)")
def linear_composition(rng):
    net, params = two_layers(rng)
    x, (first, second) = rng.normal(size=(5, 4)), params
    return x @ (first["w"] @ second["w"]) + first["b"] @ second["w"] + second["b"], net.fwd(params, x)[0]


@law("003a", "f(x) + f(−x) = 2f(0) without ReLU between; not with it")
def need_of_an_activation(rng):
    x, kinds = rng.normal(size=(5, 4)), []
    for between in ((), (relu(),)):
        net, params = two_layers(rng, *between)
        there, back, middle = (net.fwd(params, scale * x)[0] for scale in (1, -1, 0))
        kinds.append("linear" if np.allclose(there + back, 2 * middle, rtol=0, atol=1e-9) else "not linear")
    return "linear, not linear", ", ".join(kinds)


@law("003b", "softmax generalises sigmoid: softmax(z, 0) = (σ(z), σ(−z))")
def softmax_and_sigmoid(rng):
    z = 5 * rng.normal(size=11)
    both = np.stack([1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))], axis=1)
    return both, forward(ops.softmax, np.stack([z, np.zeros(11)], axis=1))


@law("003b", "tanh is a sigmoid shifted and stretched: 2σ(2z) − 1")
def tanh_and_sigmoid(rng):
    z = rng.normal(size=11)
    return 2 * forward(ops.sigmoid, 2 * z) - 1, forward(ops.tanh, z)


@example("003c", "(545,5)(5,348) → (545,348)")
def outer_shapes(outer=348):
    return (545, 348), forward(ops.dense, np.ones((545, 5)), np.ones((5, outer)), np.ones(outer)).shape


@law("003c", "columns, g(WXᵀ + b), are the transpose of rows, g(XWᵀ + b)")
def columns_and_rows(rng):
    x, w, b = rng.normal(size=(5, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)
    columns = np.maximum(0, w @ x.T + b[:, None])
    return columns.T, forward(ops.relu, forward(ops.dense, x, w.T, b))


@example("003d", "its loss: sure and right; 0·log 0; sure and wrong", decimals=8)
def cross_entropy_of_certainty(p=[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]):  # noqa: B006
    labels = [[1.0, 0.0, 0.0]] * 3
    return [0, 0.69314718, np.inf], forward(ops.categorical_cross_entropy("none"), p, labels)


@example("003e", "the slope of x² at 3: (f(x + ε) − f(x))/ε, and 2x", decimals=5)
def slope_of_a_square(x=[3.0], epsilon=1e-6):  # noqa: B006
    square = ops.mean_squared_error("sum")
    tangent = (forward(square, [x[0] + epsilon], [0.0]) - forward(square, x, [0.0])) / epsilon
    return [6.0, 6.0], [tangent, *backward(square, x, [0.0])[0]]


@law("003e", "d/da (2ac + 3b) = 2c")
def slope_in_one_variable(rng):
    a, b, c = rng.normal(size=3)
    d_inputs, _, _ = backward(ops.dense, [a, b], [[2 * c], [3.0]], [0.0])
    return 2 * c, d_inputs[0]


@example("003f", "a step from 3 on x²: W − a dL/dW, a = .1 and 1", decimals=8)
def descent(x=3.0):
    """With a = 1, the note's first formula, it jumps to −3 and back for ever."""
    steps = []
    for rate in (0.1, 1.0):
        params, optimizer = {"w": jnp.array([x])}, optimizers.sgd(rate)
        gradient = {"w": backward(ops.mean_squared_error("sum"), params["w"], [0.0])[0]}
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        steps.append(optimizers.apply_updates(params, updates)["w"][0])
    return [2.4, -3.0], steps
