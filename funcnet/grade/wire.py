"""Messages between the grader and a student's process: JSON with arrays behind it, and never a pickle.

A pickle runs code where it is read. Here the reader gets numbers, text and arrays, or a WireError.
"""

import json
import math
import struct
from typing import Any

import numpy as np

LARGEST = 64 << 20  # bytes of a message
LARGEST_HEAD = 1 << 20  # of these JSON, which takes many times its size once it is read
HEAD = struct.Struct(">QQ")  # the sizes of the JSON and of the arrays
KINDS = "biufc"  # of the arrays: numbers


class WireError(ValueError):
    """What was written is no message."""


def pack(value: Any) -> bytes:
    """``value``, made of dicts with text as keys, lists, tuples, arrays, numbers, text and None, as bytes.

    Raises WireError for anything else.
    """
    arrays: list[np.ndarray] = []
    tree = _outward(value, arrays)
    head = json.dumps([tree, [[a.dtype.str, a.shape] for a in arrays]]).encode()
    body = b"".join(a.tobytes() for a in arrays)
    return HEAD.pack(len(head), len(body)) + head + body


def _outward(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _outward(part, arrays) for key, part in value.items()}}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_outward(part, arrays) for part in value]}
    if hasattr(value, "dtype") and np.asarray(value).dtype.kind in KINDS:
        arrays.append(np.ascontiguousarray(value).reshape(np.shape(value)))
        return {"array": len(arrays) - 1}
    if value is None or isinstance(value, str | bool | int | float):
        return {"is": value}
    raise WireError(f"a {type(value).__name__} is no array")


def sizes(head: bytes) -> tuple[int, int]:
    """The sizes of both parts of a message. Raises WireError if they are too large."""
    first, second = HEAD.unpack(head)
    if first > LARGEST_HEAD or first + second > LARGEST:
        raise WireError(f"it wrote more than {LARGEST >> 20} MiB as its answer")
    return first, second


def unpack(head: bytes, body: bytes) -> Any:
    """The value of a message, from its two parts. Raises WireError if they are none."""
    try:
        tree, forms = json.loads(head)
        arrays, start = [], 0
        for text, shape in forms:
            dtype, count = np.dtype(str(text)), math.prod(int(size) for size in shape)
            if dtype.kind not in KINDS or count < 0:
                raise WireError("an array is not of numbers")
            arrays.append(np.frombuffer(body, dtype, count, start).reshape(shape).copy())
            start += count * dtype.itemsize
        return _inward(tree, arrays)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError, MemoryError) as error:
        raise WireError("it wrote what is no answer") from error


def _inward(tree: Any, arrays: list[np.ndarray]) -> Any:
    ((kind, value),) = tree.items()
    if kind == "is" and not isinstance(value, dict | list):
        return value
    if kind == "dict":
        return {str(key): _inward(part, arrays) for key, part in value.items()}
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(_inward(part, arrays) for part in value)
    if kind == "array":
        return arrays[value]
    raise ValueError(kind)
