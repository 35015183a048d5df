"""The calculus: rules on arrays, each forward beside its hand-derived backward. No parameters, no state."""

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
from .losses import (
    binary_cross_entropy,
    categorical_cross_entropy,
    contrastive,
    huber,
    kl_divergence,
    linear_softmax_cross_entropy,
    mean_absolute_error,
    mean_squared_error,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    sparse_categorical_cross_entropy,
    sparse_softmax_cross_entropy,
    squared_hinge,
    triplet,
    weighted,
)
from .normalization import batch_norm, batch_norm_inference, group_norm, layer_norm, rms_norm
from .penalties import l1, l2
from .pooling import average_pool, global_average_pool, max_pool
from .recurrent import gru, lstm, rnn
from .rotary import rotary
from .shapes import flatten

__all__ = [
    "attention", "average_pool", "batch_norm", "batch_norm_inference", "binary_cross_entropy",
    "categorical_cross_entropy", "contrastive", "conv2d", "conv2d_transpose", "dense", "dropout", "elu",
    "embedding", "flash_attention", "flatten", "gated", "geglu", "gelu", "gelu_tanh", "global_average_pool", "glu",
    "group_norm", "gru", "huber", "kl_divergence", "l1", "l2", "layer_norm", "leaky_relu",
    "linear_softmax_cross_entropy", "log_softmax", "lstm", "max_pool", "mean_absolute_error", "mean_squared_error",
    "positions", "reglu", "relu", "rms_norm", "rnn", "rotary", "sigmoid", "sigmoid_binary_cross_entropy", "silu",
    "softmax", "softmax_cross_entropy", "softplus", "sparse_categorical_cross_entropy",
    "sparse_softmax_cross_entropy", "squared_hinge", "swiglu", "tanh", "triplet", "unembedding", "weighted",
]  # fmt: skip
