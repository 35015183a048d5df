"""Every tolerance, budget and seed of the checker, with the reason for its value."""

from __future__ import annotations

import numpy as np

EPS = float(np.finfo(np.float64).eps)
TINY = 1e-300  # in place of a scale of zero, by which nothing can be divided

# ---------------------------------------------------------------- the comparison in float64

# |error| ≤ RELATIVE·|ref| + ABSOLUTE·(scale of the leaf) + MOVEMENT·(movement of the reference as the inputs move by a
# rounding unit). True rules agree to 1e-15 … 1e-12, and 1.00001 times the truth must fail.
RELATIVE, ABSOLUTE, MOVEMENT = 1e-10, 1e-12, 4
NUDGES = 8  # inputs moved by a rounding unit: one may leave some element where it is, by luck
VANISHING = 1e-10  # of dy: a leaf below may be zero by cancellation, which is then told by the parts that cancel
PARITY = 64  # rounding units of the largest entry: what two programs for one function may differ by

# ---------------------------------------------------------------- the laws of the cotangent

LINEAR = 1e-9  # of the largest entry: what the two sides of a law may differ by
FAR, FAR_OFF = 1e6, 1e-3  # the cotangent that is far out, and what the backward may be off by there

# ---------------------------------------------------------------- the audit of the reference

SIGHT = 8  # rounding units of |dy|·|y|/|x|, below which differences see nothing
FLOAT32 = float(np.finfo(np.float32).eps)
ROUNDED = 4  # rounding units of float32: an error up to this may come from constants that are float32

# ---------------------------------------------------------------- budgets

COMPILED = 256  # programs that are kept compiled
AT_ONCE = 2**20  # elements in all: above, compiling the movement of the reference no longer pays

# ---------------------------------------------------------------- the diagnosis

EQUAL = 1e-9  # of the largest entry: two arrays, or two factors, are the same
APART = 1e-7  # of the largest entry: a slip must move a leaf by more
FIT, FIT_ROUNDING = 1e-10, 256  # a path explains the error if less is left: of the error, and in roundings of the ref
NOTHING = 1e-12  # of the reference: a path that carries less carries nothing
FACTOR, LITERAL = 1e-7, 1e-6  # a fitted factor is a simple one, or the size of an axis; or a constant of the source
FOLLOWS = 1e-8  # of the largest entry: a factor follows an axis to other sizes
NEARLY_ONE = 1e-2  # the ratio that another epsilon or divisor makes is no farther from 1
RATE_STEP, RATE = 1e-4, 1e-7  # a step along a gradient, and how well the VJP at updated weights must then fit
JITTER = 0.03  # of each input: a coincidence at one point does not survive at another nearby

# ---------------------------------------------------------------- seeds, each beside that of the draw

SEED_DY = 3  # the cotangents of a probe
SEED_JITTER = 13  # inputs nearby, for which see JITTER
