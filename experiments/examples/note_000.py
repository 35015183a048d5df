"""Note 000: one neuron, the unrolled loss of a network, and cross-entropy with its gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np

from funcnet import dense, ops, relu, serial

from .worked import backward, example, forward, law


def unrolled(x, layers, y) -> float:
    """The note's formula for one example, term by term: ReLU, ReLU, softmax and cross-entropy, with no array at all."""
    a = [float(value) for value in x]
    for depth, (w, b) in enumerate(layers):
        z = [sum(a[i] * w[i][j] for i in range(len(a))) + b[j] for j in range(len(b))]
        a = z if depth == len(layers) - 1 else [max(0.0, value) for value in z]
    total = sum(math.exp(value) for value in a)
    return -sum(target * math.log(math.exp(value) / total) for target, value in zip(y, a, strict=True))


def unrolled_and_composed(rng, sizes=(5, 7, 4, 3)):
    layers = [(rng.normal(size=(i, o)), rng.normal(size=o)) for i, o in itertools.pairwise(sizes)]
    x, y = rng.normal(size=sizes[0]), np.eye(sizes[-1])[rng.integers(sizes[-1])]
    net = serial(dense(sizes[1]), relu(), dense(sizes[2]), relu(), dense(sizes[3]))
    affine = [{"w": w, "b": b} for w, b in layers]
    logits, _ = net.fwd((affine[0], {}, affine[1], {}, affine[2]), x[None])
    return unrolled(x, layers, y), forward(ops.softmax_cross_entropy(), logits, y[None])


@law("000b", "ReLU-ReLU-softmax-cross-entropy, unrolled into sums")
def unrolled_loss(rng):
    return unrolled_and_composed(rng)


@law("000b", "the shape of that loss: a scalar")
def unrolled_loss_is_a_scalar(rng):
    return (), unrolled_and_composed(rng)[1].shape


@example("000c", "one neuron: z = w·x + b", decimals=8)
def neuron(x=[1.0, 2.0, 3.0, 2.5], w=[[0.2], [0.8], [-0.5], [1.0]], b=[2.0]):  # noqa: B006
    return [4.8], forward(ops.dense, x, w, b)


@example("000d", "the module of activations: sigmoid(4.8)", decimals=7)
def sigmoid(z=4.8):
    return 0.9918374, forward(ops.sigmoid, z)


def gradients(rng, n=5, m=4, h=7, k=3):
    """A sigmoid layer, a softmax layer, cross-entropy: all that the note derives, by funcnet's rules in turn."""
    x, y = rng.normal(size=(n, m)), np.eye(k)[rng.integers(k, size=n)]
    w, b, v, c = (rng.normal(size=shape) for shape in ((m, h), h, (h, k), k))
    z_hidden, dense_hidden = ops.dense.fwd(x, w, b)
    hidden, sigmoid_hidden = ops.sigmoid.fwd(z_hidden)
    z, dense_out = ops.dense.fwd(hidden, v, c)
    a, softmax_out = ops.softmax.fwd(z)
    da, _ = backward(ops.categorical_cross_entropy(), a, y)
    (dz,) = ops.softmax.bwd(softmax_out, da)
    dhidden, *_ = ops.dense.bwd(dense_out, dz)
    (dz_hidden,) = ops.sigmoid.bwd(sigmoid_hidden, dhidden)
    dx, dw, db = ops.dense.bwd(dense_hidden, dz_hidden)
    # the note's formulas; those that are wrong are mended here (see experiments.known_mistakes)
    s, p = (np.asarray(array) for array in (hidden, a))
    right_da, right_dz = -y / p / n, (p - y) / n
    right_dz_hidden = (right_dz @ v.T) * s * (1 - s)
    right = (x.T @ right_dz_hidden, right_dz_hidden.sum(axis=0), right_dz_hidden @ w.T, right_da, right_dz)
    return right, (dw, db, dx, da, dz), (n, m, h, k)


@law("000e", "cross-entropy: the gradients of W, B, X, A, Z")
def cross_entropy_gradients(rng):
    right, got, _ = gradients(rng)
    return tuple(np.concatenate([np.ravel(array) for array in arrays]) for arrays in (right, got))


@law("000e", "their shapes: (m,h), (h,), (N,m), (N,K), (N,K)")
def gradient_shapes(rng):
    _, got, (n, m, h, k) = gradients(rng)
    return ((m, h), (h,), (n, m), (n, k), (n, k)), tuple(d.shape for d in got)


@law("000e", "the cost: −1/N ΣΣ y log a")
def cost(rng, n=5, k=3):
    a, y = rng.dirichlet(np.ones(k), size=n), np.eye(k)[rng.integers(k, size=n)]
    return -(y * np.log(a)).sum() / n, forward(ops.categorical_cross_entropy(), a, y)
