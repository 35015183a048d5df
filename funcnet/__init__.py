"""funcnet: neural networks as pure functions, with every backward pass derived by hand.

Layers and combinators are exported here; rules live in ``funcnet.ops``, data sets in ``funcnet.data``.
"""

from . import initializers, models, ops, optimizers, schedules
from .calibration import calibrate
from .combinators import parallel, repeat, residual, serial
from .layers import (
    batch_norm,
    dense,
    dropout,
    elu,
    embedding,
    flatten,
    geglu,
    gelu,
    gelu_tanh,
    glu,
    group_norm,
    layer_norm,
    leaky_relu,
    log_softmax,
    positions,
    reglu,
    relu,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    softplus,
    swiglu,
    tanh,
)
from .summary import summary
from .training import accuracy, evaluate, fit, init_state, train_epoch, train_step, value_and_grad
from .transformer import multi_head_attention, transformer_block
from .types import Layer, Optimizer, Rule, ShapeError

__all__ = [
    "Layer",
    "Optimizer",
    "Rule",
    "ShapeError",
    "accuracy",
    "batch_norm",
    "calibrate",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "evaluate",
    "fit",
    "flatten",
    "geglu",
    "gelu",
    "gelu_tanh",
    "glu",
    "group_norm",
    "init_state",
    "initializers",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "models",
    "multi_head_attention",
    "ops",
    "optimizers",
    "parallel",
    "positions",
    "reglu",
    "relu",
    "repeat",
    "residual",
    "rms_norm",
    "schedules",
    "serial",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "summary",
    "swiglu",
    "tanh",
    "train_epoch",
    "train_step",
    "transformer_block",
    "value_and_grad",
]
