"""Data: named sets, IDX files and text, as NumPy arrays."""

from . import idx, sets, text
from .idx import DataError, read_idx
from .sets import Dataset, diabetes, digits, fashion_mnist, iris, load, mnist, spiral

__all__ = [
    "DataError", "Dataset", "diabetes", "digits", "fashion_mnist", "idx", "iris", "load", "mnist", "read_idx",
    "sets", "spiral", "text",
]  # fmt: skip
