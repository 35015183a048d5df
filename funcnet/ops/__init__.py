"""The calculus: rules on arrays, each forward beside its hand-derived backward. No parameters, no state."""

from . import losses
from .activations import elementwise as elementwise  # a tool to make rules with, and no rule to check
from .activations import (
    elu,
    gated,
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
from .attention import attention, flash_attention
from .convolution import conv2d, conv2d_transpose
from .dropout import dropout
from .embedding import embedding, positions
from .linear import dense, unembedding
from .losses import *  # noqa: F403  (every loss, by its own list)
from .normalization import batch_norm, batch_norm_inference, group_norm, layer_norm, rms_norm
from .penalties import l1, l2
from .pooling import average_pool, global_average_pool, max_pool
from .recurrent import gru, lstm, rnn
from .rotary import rotary
from .shapes import flatten

__all__ = [
    "attention", "average_pool", "batch_norm", "batch_norm_inference", "conv2d", "conv2d_transpose", "dense",
    "dropout", "elu", "embedding", "flash_attention", "flatten", "gated", "geglu", "gelu", "gelu_tanh",
    "global_average_pool", "glu", "group_norm", "gru", "l1", "l2", "layer_norm", "leaky_relu", "log_softmax",
    "lstm", "max_pool", "positions", "reglu", "relu", "rms_norm", "rnn", "rotary", "sigmoid", "silu", "softmax",
    "softplus", "swiglu", "tanh", "unembedding",
]  # fmt: skip
__all__ += losses.__all__
