"""Models: compositions of layers."""

from .cnn import lenet, resnet
from .gpt import GPTConfig, generate, gpt
from .mlp import mlp

__all__ = ["GPTConfig", "generate", "gpt", "lenet", "mlp", "resnet"]
