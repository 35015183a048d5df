"""Layers: rules lifted to ``Layer``, and the combinators. They add parameters, names and shapes, and no calculus."""

from .activations import (
    elu,
    geglu,
    gelu,
    gelu_tanh,
    glu,
    leaky_relu,
    log_softmax,
    reglu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    swiglu,
    tanh,
)
from .attention import multi_head_attention
from .combinators import parallel, repeat, residual, serial
from .convolution import conv2d, conv2d_transpose
from .dropout import dropout
from .embedding import embedding, positions
from .lifting import lift
from .linear import dense
from .normalization import batch_norm, group_norm, layer_norm, rms_norm
from .pooling import average_pool, global_average_pool, max_pool
from .precision import computed_in
from .recurrent import gru, lstm, rnn
from .shapes import flatten
from .summary import summary

__all__ = [
    "average_pool", "batch_norm", "computed_in", "conv2d", "conv2d_transpose", "dense", "dropout", "elu",
    "embedding", "flatten", "geglu", "gelu", "gelu_tanh", "global_average_pool", "glu", "group_norm", "gru",
    "layer_norm", "leaky_relu", "lift", "log_softmax", "lstm", "max_pool", "multi_head_attention", "parallel",
    "positions", "reglu", "relu", "repeat", "residual", "rms_norm", "rnn", "serial", "sigmoid", "silu", "softmax",
    "softplus", "summary", "swiglu", "tanh",
]  # fmt: skip
