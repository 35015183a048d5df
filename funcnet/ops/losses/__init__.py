"""Losses: rules on ``(predictions, targets)``, made by factories.

``reduction`` says how a loss combines its terms: "mean", "sum" or "none"; ``dy`` has the shape of the result.
``weighted`` gives each example of any loss a weight. Every factory raises ValueError for invalid settings.
"""

from .cross_entropy import (
    binary_cross_entropy,
    categorical_cross_entropy,
    kl_divergence,
    linear_softmax_cross_entropy,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    sparse_categorical_cross_entropy,
    sparse_softmax_cross_entropy,
)
from .margins import contrastive, squared_hinge, triplet
from .regression import huber, mean_absolute_error, mean_squared_error
from .weighting import weighted

__all__ = [
    "binary_cross_entropy", "categorical_cross_entropy", "contrastive", "huber", "kl_divergence",
    "linear_softmax_cross_entropy", "mean_absolute_error", "mean_squared_error", "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy", "sparse_categorical_cross_entropy", "sparse_softmax_cross_entropy", "squared_hinge",
    "triplet", "weighted",
]  # fmt: skip
