"""JAX without its derivatives, for code that has to do without."""

import contextlib
from collections.abc import Iterator
from typing import Any

from jax.interpreters import ad


class AutodiffError(RuntimeError):
    """Code that has to do without autodiff called it."""


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise AutodiffError("JAX's autodiff is called")


@contextlib.contextmanager
def without_autodiff() -> Iterator[None]:
    """While it is open, whatever asks JAX for the derivative of a primitive gets an AutodiffError.

    JAX's tables of derivatives are exchanged: whoever imported ``jax.grad`` earlier still has the original, which
    looks into them.
    """
    tables = (ad.primitive_jvps, ad.primitive_transposes)
    before = [dict(table) for table in tables]
    try:
        for table in tables:
            table.update(dict.fromkeys(table, _refuse))
        yield
    finally:
        for table, own in zip(tables, before, strict=True):
            table.update(own)
