"""Models: compositions of layers."""

from .cnn import lenet, resnet
from .gpt import GPTConfig, check_tokens, generate, gpt
from .mlp import mlp

__all__ = ["GPTConfig", "check_tokens", "generate", "gpt", "lenet", "mlp", "resnet"]
