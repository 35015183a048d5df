"""funcnet: neural networks as pure functions, with every backward pass derived by hand.

Layers and combinators are exported here; rules live in ``funcnet.ops``, data sets in ``funcnet.data``.
"""

from . import initializers, models, ops, optimizers, schedules
from .calibration import calibrate
from .combinators import parallel, residual, serial
from .layers import (
    average_pool,
    batch_norm,
    conv2d,
    conv2d_transpose,
    dense,
    dropout,
    elu,
    flatten,
    gelu,
    global_average_pool,
    leaky_relu,
    log_softmax,
    max_pool,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .summary import summary
from .training import accuracy, evaluate, fit, init_state, train_epoch, train_step, value_and_grad
from .types import Layer, Optimizer, Rule, ShapeError

__all__ = [
    "Layer",
    "Optimizer",
    "Rule",
    "ShapeError",
    "accuracy",
    "average_pool",
    "batch_norm",
    "calibrate",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "dropout",
    "elu",
    "evaluate",
    "fit",
    "flatten",
    "gelu",
    "global_average_pool",
    "init_state",
    "initializers",
    "leaky_relu",
    "log_softmax",
    "max_pool",
    "models",
    "ops",
    "optimizers",
    "parallel",
    "relu",
    "residual",
    "schedules",
    "serial",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "summary",
    "tanh",
    "train_epoch",
    "train_step",
    "value_and_grad",
]
