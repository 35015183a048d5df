"""Layers with a cache on self: gradients returned, in a dict, or in a list."""

import numpy as np


class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.dot(dout, W.T)


class TwoLayerNet:
    def __init__(self, input_size=4, hidden_size=6, output_size=3):
        self.params = {
            "W1": 0.1 * np.random.randn(input_size, hidden_size),
            "b1": np.zeros(hidden_size),
            "W2": 0.1 * np.random.randn(hidden_size, output_size),
            "b2": np.zeros(output_size),
        }
        self.grads = {}

    def forward(self, X):
        hidden = np.tanh(X @ self.params["W1"] + self.params["b1"])
        self.cache = (X, hidden)
        return hidden @ self.params["W2"] + self.params["b2"]

    def backward(self, dscores):
        X, hidden = self.cache
        self.grads["W2"] = hidden.T @ dscores
        self.grads["b2"] = dscores.sum(axis=0)
        da = dscores @ self.params["W2"].T * (1 - hidden**2)
        self.grads["W1"] = X.T @ da
        self.grads["b1"] = da.sum(axis=0)
        return da @ self.params["W1"].T


class Sigmoid:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * self.out * (1.0 - self.out)


class SoftmaxLoss:
    def forward(self, scores, t):
        self.t = t
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return -np.log(self.y[np.arange(len(t)), t] + 1e-7).mean()

    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dx * dout / len(self.t)


class BatchNorm:
    def __init__(self, num_features, momentum=0.9, eps=1e-5):
        self.gamma = np.ones(num_features)
        self.beta = np.zeros(num_features)
        self.running_mean = np.zeros(num_features)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, training=True):
        mean = x.mean(axis=0) if training else self.running_mean
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.std = np.sqrt(((x - mean) ** 2).mean(axis=0) + self.eps)
        self.xhat = (x - mean) / self.std
        return self.gamma * self.xhat + self.beta

    def backward(self, grad_output):
        self.grad_gamma = (grad_output * self.xhat).sum(axis=0)
        self.grad_beta = grad_output.sum(axis=0)
        d = grad_output * self.gamma
        return (d - d.mean(axis=0) - self.xhat * (d * self.xhat).mean(axis=0)) / self.std


Affine_example = (Affine(np.linspace(-1, 1, 12).reshape(4, 3), np.zeros(3)), np.ones((5, 4)) * np.arange(5)[:, None])
SoftmaxLoss_example = SoftmaxLoss(), np.random.RandomState(8).randn(4, 3), np.array([0, 2, 1, 1])
