"""The cache comes first, and the gradients come in a dict."""

import numpy as np


def layernorm_fwd(x, gain, shift):
    mu = np.mean(x, axis=-1, keepdims=True)
    sigma = np.std(x, axis=-1, keepdims=True)
    xhat = (x - mu) / sigma
    return gain * xhat + shift, (xhat, sigma, gain)


def layernorm_bwd(cache, grad_out):
    xhat, sigma, gain = cache
    g = grad_out * gain
    dx = (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)) / sigma
    return {"dx": dx, "dgain": (grad_out * xhat).sum(0), "dshift": grad_out.sum(0)}


layernorm_example = {"x": np.random.RandomState(5).randn(4, 6), "gain": np.linspace(0.5, 1.5, 6), "shift": np.zeros(6)}


def forward(A, W):
    Z = A @ W.T
    return Z, (A, W)


def backward(thing, other):
    A, W = other
    return thing @ W, thing.T @ A


example = (np.random.RandomState(6).randn(4, 3), np.random.RandomState(7).randn(5, 3))
