"""Very many rows: some faults of compilers show only there."""

import math
from typing import Any

import jax
import numpy as np

from ..engine.inspection import amount
from ..engine.leaves import cast
from ..engine.width import as_users_have_it
from ..report import Finding
from ..tolerances import ELEMENTS, FEW_ROWS, GROWTH, MORE_ROWS
from ..trial.draws import Draw
from ..trial.subject import Subject
from .arithmetic import in_dtype
from .form import Malformed
from .probe import probe, worst_elements


def too_large(subject: Subject, draw: Draw, dtype: Any) -> bool:
    """Whether these are too many rows: forward and backward would fill the memory, a Python loop over rows or blocks
    would take minutes to trace, or the forward does not take so many."""
    try:
        few = _amount(subject, _cut(draw, FEW_ROWS), dtype)[0]
        if any(_amount(subject, _cut(draw, rows), dtype)[0] >= few + GROWTH for rows in MORE_ROWS):
            return True
        y = subject.shape_of_y(cast(draw.args, dtype))  # first, as a cotangent of that size would be drawn
        if sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(y)) > ELEMENTS:
            return True
        return _amount(subject, draw, dtype)[1] > ELEMENTS
    except Exception:
        return True


def _amount(subject: Subject, draw: Draw, dtype: Any) -> tuple[int, int]:
    with as_users_have_it(jax.ShapeDtypeStruct((), dtype)):
        typed = in_dtype(subject, draw, dtype)
        return amount(typed.run, typed.packed.arrays)


def _cut(draw: Draw, rows: int) -> Draw:
    """The draw with fewer rows, for tracing alone: integers may be out of range."""
    many = next(iter(draw.sizes.values()))

    def cut(leaf):
        return leaf[tuple(slice(rows if size == many else size) for size in leaf.shape)]

    return draw._replace(args=jax.tree.map(cut, draw.args))


def wrong_at_many_rows(subject: Subject, rows: Draw, elsewhere: str, vanished: frozenset[int]) -> list[Finding]:
    """Findings for a backward that is right ``elsewhere``. No path is sought: arrays of that size are too much."""
    try:
        p = probe(subject, rows, cotangents=1)
    except Malformed as malformed:
        return malformed.findings
    if not all(np.isfinite(ref).all() for ref in p.refs[0]):
        return []
    text = f"is right at {elsewhere}, and wrong at {rows.shown}: got {{:.6g}} at {{}}, expected {{:.6g}}"
    worst = {i: worst_elements(p, i, 1)[0] for i in p.wrong if i not in vanished & set(p.tiny())}
    return [Finding(*p.leaves[i], "unexplained", text.format(e.got, e.name, e.expected)) for i, e in worst.items()]
