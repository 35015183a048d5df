"""Models: compositions of layers."""

from .mlp import mlp

__all__ = ["mlp"]
