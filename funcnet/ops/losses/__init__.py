"""Losses: rules on ``(predictions, targets)``, made by factories.

Every loss is a mean, a sum or nothing over its terms, by ``reduction``; ``dy`` has the shape of what it returns.
``weighted`` gives the terms of any of them weights.
"""

from .fused import linear_softmax_cross_entropy
from .logits import sigmoid_binary_cross_entropy, softmax_cross_entropy, sparse_softmax_cross_entropy
from .margins import contrastive, squared_hinge, triplet
from .probabilities import (
    binary_cross_entropy,
    categorical_cross_entropy,
    kl_divergence,
    sparse_categorical_cross_entropy,
)
from .regression import huber, mean_absolute_error, mean_squared_error
from .weighting import weighted

__all__ = [
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "contrastive",
    "huber",
    "kl_divergence",
    "linear_softmax_cross_entropy",
    "mean_absolute_error",
    "mean_squared_error",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "sparse_categorical_cross_entropy",
    "sparse_softmax_cross_entropy",
    "squared_hinge",
    "triplet",
    "weighted",
]
