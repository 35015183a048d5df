"""Models: compositions of layers, by name too; and saved ones."""

from .cnn import lenet, resnet
from .gpt import GPTConfig, gpt, transformer_block
from .mlp import mlp
from .registry import MODELS, ModelError, build
from .sampling import check_tokens, generate, generate_bytes
from .saved import Arrays, Images, Model, Spec, Table, Text, load_model, save_model

__all__ = [
    "MODELS",
    "Arrays",
    "GPTConfig",
    "Images",
    "Model",
    "ModelError",
    "Spec",
    "Table",
    "Text",
    "build",
    "check_tokens",
    "generate",
    "generate_bytes",
    "gpt",
    "lenet",
    "load_model",
    "mlp",
    "resnet",
    "save_model",
    "transformer_block",
]
