"""Training: one step, the epochs that scan it, and ``fit`` on top."""

from .calibration import calibrate
from .epochs import NonFiniteError, epoch_order, train_epoch, train_epochs
from .fit import Fit, accuracy, evaluate, fit
from .step import (
    Step,
    TrainState,
    accumulated,
    gradient_step,
    init_state,
    loss_only,
    train_step,
    value_and_grad,
)

__all__ = [
    "Fit", "NonFiniteError", "Step", "TrainState", "accumulated", "accuracy", "calibrate", "epoch_order",
    "evaluate", "fit", "gradient_step", "init_state", "loss_only", "train_epoch", "train_epochs", "train_step",
    "value_and_grad",
]  # fmt: skip
