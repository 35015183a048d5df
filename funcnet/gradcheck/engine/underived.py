"""JAX without its derivatives, for code that has to do without."""

import contextlib
from collections.abc import Iterator
from typing import Any

from jax._src.interpreters import ad  # jax.interpreters has not all of it

TABLES: tuple[dict[Any, Any], ...] = (ad.primitive_jvps, ad.primitive_transposes)


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
    before = [dict(table) for table in TABLES]
    try:
        _refuse_all()
        yield
    finally:
        for table, own in zip(TABLES, before, strict=True):
            table.update(own)


def refuse_autodiff() -> None:
    """The same for the rest of the process, and the derivatives too that functions such as ``jax.nn.relu`` bring."""
    _refuse_all()
    for trace in (ad.JVPTrace, ad.LinearizeTrace):
        for kind in ("primitive", "custom_jvp_call", "custom_vjp_call"):
            setattr(trace, f"process_{kind}", _refuse)


def _refuse_all() -> None:
    for table in TABLES:
        table.update(dict.fromkeys(table, _refuse))
