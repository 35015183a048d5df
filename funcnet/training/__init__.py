"""Training: one step, the epochs that scan it, and ``fit`` on top."""

from .calibration import calibrate
from .fit import (
    Fit,
    NonFiniteError,
    TrainState,
    accuracy,
    epoch_order,
    evaluate,
    fit,
    init_state,
    train_epoch,
    train_step,
    value_and_grad,
)

__all__ = [
    "Fit",
    "NonFiniteError",
    "TrainState",
    "accuracy",
    "calibrate",
    "epoch_order",
    "evaluate",
    "fit",
    "init_state",
    "train_epoch",
    "train_step",
    "value_and_grad",
]
