"""A forward of the key that has no backward.

Nothing here imports JAX: the checker takes for NumPy code what stands in a module that knows NumPy alone.
"""

import functools
from collections.abc import Callable
from typing import Any


def with_stub(forward: Callable[..., Any]) -> Any:
    """A pair of a forward and a backward that nobody calls."""

    @functools.wraps(forward)
    def pair(*args: Any) -> tuple[Any, Any]:
        result = forward(*args)
        if not (isinstance(result, tuple) and len(result) > 1):
            return result, None
        return result[0] if len(result) == 2 else result[:-1], result[-1]

    def backward(dout: Any, cache: Any) -> Any:
        raise AssertionError("a key's forward is never asked for gradients")

    return pair, backward
