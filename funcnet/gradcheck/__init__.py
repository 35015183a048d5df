"""The derivation checker: proves a hand-written backward right, or says what is wrong with it.

It knows the types only, never funcnet's own rules: it works on anyone's functions.
"""

from .check import assert_correct, check
from .costs.audit import Audit, audit
from .mistakes import MISTAKES
from .report import DerivationError, Element, Finding, Report, Verdict
from .trial.domains import (
    ascending,
    definite,
    one_hot,
    orthogonal,
    permutation,
    positive,
    simplex,
    symmetric,
    triangular,
    unit_interval,
    unit_rows,
)
from .trial.draws import draws
from .trial.subject import InputError

__all__ = [
    "MISTAKES",
    "Audit",
    "DerivationError",
    "Element",
    "Finding",
    "InputError",
    "Report",
    "Verdict",
    "ascending",
    "assert_correct",
    "audit",
    "check",
    "definite",
    "draws",
    "one_hot",
    "orthogonal",
    "permutation",
    "positive",
    "simplex",
    "symmetric",
    "triangular",
    "unit_interval",
    "unit_rows",
]  # fmt: skip
