"""funcnet: neural networks as pure functions, with every backward pass derived by hand.

Layers and combinators are exported here; rules live in ``funcnet.ops``, data sets in ``funcnet.data``, the derivation
checker in ``funcnet.gradcheck``.
"""

import funcnet_interrupts  # noqa: F401  isort: skip  (first, as all the others take time to import)

import importlib
from typing import Any

from . import data, devices, initializers, layers, models, ops, optimizers, schedules, training
from .layers import *  # noqa: F403  (every layer, by its own list)
from .models import transformer_block
from .training import (
    TrainState,
    accuracy,
    calibrate,
    evaluate,
    fit,
    gradient_step,
    init_state,
    train_epoch,
    train_epochs,
    train_step,
    value_and_grad,
)
from .types import Layer, Optimizer, Rule, ShapeError

__all__ = [
    "Layer", "Optimizer", "Rule", "ShapeError", "TrainState", "accuracy", "calibrate", "data", "devices", "evaluate",
    "fit", "gradient_step", "init_state", "initializers", "layers", "models", "ops", "optimizers", "schedules",
    "train_epoch", "train_epochs", "train_step", "training", "transformer_block", "value_and_grad",
]  # fmt: skip
__all__ += layers.__all__


def __getattr__(name: str) -> Any:
    """The checker, imported when it is first asked for: nothing that trains needs it."""
    if name == "gradcheck":
        return importlib.import_module(".gradcheck", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
