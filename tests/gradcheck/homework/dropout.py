import numpy as np


def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    if mode == "train":
        mask = (np.random.rand(*x.shape) < p) / p
        out = x * mask
    else:
        out = x
    return out.astype(x.dtype, copy=False), (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    return dout * mask if dropout_param["mode"] == "train" else dout


def dropout_example():
    return np.arange(12.0).reshape(3, 4), {"p": 0.8, "mode": "train", "seed": 3}


def noisy_dropout_forward(x, keep=0.5):
    mask = np.random.binomial(1, keep, size=x.shape) / keep
    return x * mask, mask


def noisy_dropout_backward(dout, cache):
    return dout * cache


noisy_dropout_example = (np.arange(12.0).reshape(3, 4),)
