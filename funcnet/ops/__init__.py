"""The calculus: rules on arrays, each forward beside its hand-derived backward. No parameters, no state."""

from .activations import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .convolution import conv2d, conv2d_transpose
from .dropout import dropout
from .linear import dense, flatten
from .losses import (
    binary_cross_entropy,
    categorical_cross_entropy,
    contrastive,
    huber,
    kl_divergence,
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
from .normalization import batch_norm, batch_norm_inference
from .penalties import l1, l2
from .pooling import average_pool, global_average_pool, max_pool

__all__ = [
    "average_pool",
    "batch_norm",
    "batch_norm_inference",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "contrastive",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "global_average_pool",
    "huber",
    "kl_divergence",
    "l1",
    "l2",
    "leaky_relu",
    "log_softmax",
    "max_pool",
    "mean_absolute_error",
    "mean_squared_error",
    "relu",
    "sigmoid",
    "sigmoid_binary_cross_entropy",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "sparse_categorical_cross_entropy",
    "sparse_softmax_cross_entropy",
    "squared_hinge",
    "tanh",
    "triplet",
    "weighted",
]
