"""The exam of the derivation checker: every planted mistake."""

from tests.gradcheck import (
    planted_layers,
    planted_losses,
    planted_norms,
    planted_others,
    planted_pointwise,
    planted_sequences,
)
from tests.gradcheck.planting import Planted

PLANTED: list[Planted] = [
    value
    for module in (planted_pointwise, planted_losses, planted_layers, planted_norms, planted_sequences, planted_others)
    for value in vars(module).values()
    if isinstance(value, Planted)
]
