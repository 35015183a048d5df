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
from .attention import attention, flash_attention
from .dropout import dropout
from .embedding import embedding, positions, rotary
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
from .normalization import batch_norm, batch_norm_inference, group_norm, layer_norm, rms_norm
from .penalties import l1, l2

__all__ = [
    "attention",
    "batch_norm",
    "batch_norm_inference",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "contrastive",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "flash_attention",
    "flatten",
    "gelu",
    "group_norm",
    "huber",
    "kl_divergence",
    "l1",
    "l2",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "mean_absolute_error",
    "mean_squared_error",
    "positions",
    "relu",
    "rms_norm",
    "rotary",
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
