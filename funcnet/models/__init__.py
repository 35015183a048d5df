"""Models: compositions of layers."""

from .cnn import lenet, resnet
from .gpt import GPTConfig, gpt, transformer_block
from .mlp import mlp
from .sampling import check_tokens, generate

__all__ = ["GPTConfig", "check_tokens", "generate", "gpt", "lenet", "mlp", "resnet", "transformer_block"]
