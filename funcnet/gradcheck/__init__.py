"""The derivation checker: proves a hand-written backward right, or says what is wrong with it.

It knows the types only, never funcnet's own rules: it works on anyone's functions.
"""

from .check import assert_correct, check
from .mistakes import MISTAKES
from .report import Element, Finding, Report, Verdict
from .trial.draws import draws
from .trial.subject import InputError

__all__ = [
    "MISTAKES", "Element", "Finding", "InputError", "Report", "Verdict", "assert_correct", "check", "draws",
]  # fmt: skip
