"""Losses that return their gradient too."""

import numpy as np


def softmax_loss(x, y):
    probs = np.exp(x - np.max(x, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    N = x.shape[0]
    loss = -np.sum(np.log(probs[np.arange(N), y])) / N
    dx = probs.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def svm_loss(W, X, y, reg):
    num_train = X.shape[0]
    scores = X.dot(W)
    correct = scores[np.arange(num_train), y].reshape(-1, 1)
    margins = np.maximum(0, scores - correct + 1)
    margins[np.arange(num_train), y] = 0
    loss = np.sum(margins) / num_train + reg * np.sum(W * W)
    binary = (margins > 0).astype(float)
    binary[np.arange(num_train), y] = -binary.sum(axis=1)
    dW = X.T.dot(binary) / num_train + 2 * reg * W
    return loss, dW


def two_layer_loss(X, y, params, reg=0.1):
    W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
    hidden = np.maximum(0, X @ W1 + b1)
    scores = hidden @ W2 + b2
    loss, dscores = softmax_loss(scores, y)
    loss += 0.5 * reg * (np.sum(W1**2) + np.sum(W2**2))
    grads = {}
    grads["W2"] = hidden.T @ dscores + reg * W2
    grads["b2"] = dscores.sum(axis=0)
    dhidden = dscores @ W2.T
    dhidden[hidden <= 0] = 0
    grads["W1"] = X.T @ dhidden + reg * W1
    grads["b1"] = dhidden.sum(axis=0)
    return loss, grads


rng = np.random.default_rng(3)
labels = np.array([0, 2, 1, 2])
softmax_loss_example = rng.normal(size=(4, 3)), labels
svm_loss_example = rng.normal(size=(5, 3)), rng.normal(size=(4, 5)), labels, 0.05


def two_layer_loss_example():
    shapes = {"W1": (5, 6), "b1": (6,), "W2": (6, 3), "b2": (3,)}
    return rng.normal(size=(4, 5)), labels, {name: rng.normal(size=shape) for name, shape in shapes.items()}
