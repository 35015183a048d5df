"""Models: compositions of layers."""

from .gpt import GPTConfig, generate, gpt
from .mlp import mlp

__all__ = ["GPTConfig", "generate", "gpt", "mlp"]
