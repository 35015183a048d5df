"""An audit as a table, a column for each program."""

import functools
from collections.abc import Callable
from typing import Any

from .suspicions import shown_bytes, shown_flops

LABEL, COLUMN = 27, 15  # characters


def table(audit: Any) -> str:
    """The lines of ``str(audit)``."""
    columns = audit.columns
    lines = [f"{audit.name}, {audit.dtype}, {audit.inputs}; on {audit.device}", _row("", list(columns))]

    def add(label: str, of: Callable[[Any], Any], shown: Callable[[Any], str] = str) -> None:
        values = [of(costs) for costs in columns.values()]
        if any(value is not None for value in values):
            lines.append(_row(label, ["-" if value is None else shown(value) for value in values]))

    add("products", lambda c: c.products)
    for dtypes in dict.fromkeys(key for costs in columns.values() for key in costs.product_flops):
        add(f"  {dtypes}", functools.partial(_flops, dtypes), shown_flops)
    add("other arithmetic", lambda c: c.operations, shown_flops)
    add("  of it exp, log, …", lambda c: c.transcendental or None, shown_flops)
    add("computed twice", lambda c: c.twice_flops + c.twice_operations, shown_flops)
    add("  instead of keeping", lambda c: c.twice_bytes or None, shown_bytes)
    add("residuals", lambda c: c.residual_bytes, shown_bytes)
    add("  arguments and y kept", lambda c: c.kept_bytes, shown_bytes)
    add("temporary memory", lambda c: c.temporary_bytes, shown_bytes)
    add("flops by the compiler", lambda c: c.compiler_flops, shown_flops)
    add("time, median", lambda c: c.seconds and c.seconds[0], shown_seconds)
    add("  half of the runs", lambda c: c.seconds and c.seconds[1:], lambda s: f"{_ms(s[0])}–{_ms(s[1])}")
    lines += [f"suspicious: {found}" for found in audit.suspicions]
    opaque = list(dict.fromkeys(step for costs in columns.values() for step in costs.opaque))
    notes = [f"not counted: {', '.join(opaque)}"] * bool(opaque)
    notes += ["of a while loop one turn is counted"] * any(costs.endless for costs in columns.values())
    return "\n".join([*lines, *(f"note: {note}" for note in (*notes, *audit.notes))])


def _flops(dtypes: str, costs: Any) -> int:
    return costs.product_flops.get(dtypes, 0)


def _row(label: str, cells: list[str]) -> str:
    return f"{label:<{LABEL}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def shown_seconds(seconds: float) -> str:
    """``1.23 ms``."""
    return f"{_ms(seconds)} ms"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"
