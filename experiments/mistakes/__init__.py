"""The mistakes of the notes: each as published, beside the backward that is right.

The notes are five introductions to neural networks "from scratch", numbered 000 to 004, that this project set out from;
"tutorials" are mistakes that many of that kind share. Forwards and backwards are pure functions; a backward takes
(residuals, dy), where dy is the gradient of the cost with respect to what the forward returns.
"""

from . import activations, layers, losses
from .published import Published

GALLERY: list[Published] = sorted(
    (value for module in (layers, losses, activations) for value in vars(module).values() if type(value) is Published),
    key=lambda entry: entry.where,
)
