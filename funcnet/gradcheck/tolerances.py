"""Every tolerance, budget and seed of the comparison and the diagnosis, with the reason for its value.

Sizes and distributions of inputs stand where they are drawn, in trial/draws.py and trial/variants.py; the mutants that
measure the probes in judge/probe.py.
"""

import numpy as np

EPS = float(np.finfo(np.float64).eps)
FLOAT32 = float(np.finfo(np.float32).eps)
TINY = 1e-300  # in place of a scale of zero, by which nothing can be divided

# ---------------------------------------------------------------- the derivation, in float64

# |error| ≤ RELATIVE·|ref| + ABSOLUTE·(scale of the leaf) + MOVEMENT·(movement of the reference as the inputs move by a
# rounding unit). True rules agree to 1e-15 … 1e-12, and 1.00001 times the truth must fail.
RELATIVE, ABSOLUTE, MOVEMENT = 1e-10, 1e-12, 4
NUDGES = 8  # inputs moved by a rounding unit: one may leave some element where it is, by luck
VANISHING = 1e-10  # of dy: a leaf below may cancel to zero; the size of the parts that cancel then decides
PARITY = 64  # rounding units of the largest entry: two ways of computing one function may differ by so much
FAR_OFF = 1e-7  # of the largest entry: no rounding explains so much, and compiled code may say it
LINEAR = 1e-9  # of the largest entry: the two sides of a law of the cotangent may differ by so much
HUGE = 1e6  # a factor on dy, beyond what clips

# ---------------------------------------------------------------- the reference itself

RIDDERS_STEP, RIDDERS_ROWS, RIDDERS_SHRINK = 0.02, 8, 1.6  # the first step, how many, and the ratio of two steps
SURE, DISAGREE = 1e-8, 1e-6  # differences that are sure to the first, and off by the second, contradict autodiff
# A backward may differ from differences by so many of their own estimates of their error, and by so much of the largest
# entry; if that is more than BLURRED of it, they have not seen enough for a verdict.
UNSURE, DIFFERENCES, BLURRED = 10, 1e-8, 1e-2
# In the dtypes of a kernel the reference is autodiff, and surer: bfloat16 is judged, to about 1e-1, and float8 is not.
BLURRED_NARROW = 0.25
LOST = 0.25  # of the largest entry: a kernel that is off by more, at activations alone, is not imprecise but wrong
ELEMENTS_MOVED, DIRECTIONS = 200, 8  # of a leaf, one by one; and directions that move all of it
SIGHT = 8  # rounding units of |dy|·|y|/|x|: differences see nothing below
ROUNDED = 4  # rounding units of float32: an error up to this may come from constants that are float32
SHORT, CONSTANTS = 12, 64  # digits, or bits, of a constant that was not rounded; and how many of an array are looked at

# A constant up to GUARD keeps a divisor, or a logarithm, off zero; who neglects it may be off by NEGLIGIBLE of the
# largest entry: log(p + 1e-7) is by 1e-5 at p = 0.01.
GUARD, NEGLIGIBLE = 1e-6, 1e-5
# A loop that ends at a tolerance is off its limit by up to UNCONVERGED of the largest entry, and so is its derivative:
# at TIGHTER times the tolerance the error is at most SHRUNK times as large.
UNCONVERGED, TIGHTER, SHRUNK = 1e-2, 1e-3, 1e-2

# ---------------------------------------------------------------- kinks

ASIDE = 1e-10  # the step beside a kink: closer than any other scale of a function, and far from rounding
ROOM = 1e-4  # of the largest entry: the mathematics beside kinks is judged elsewhere, and far more strictly
ROUNDING = 1e-9  # of the largest cotangent: below is rounding
PARTED = 1e-2  # of the largest entry: if the slopes on two sides differ by more, there is a kink
WIDTH, MARGIN = 1e-7, 1e-3  # a kink excuses an error if it is as wide, of the largest entry; a margin of that width
NEAR_SHARE = 0.01  # a share within this of 0, ½ or 1 counts as that
CONFIRMED = 0.1  # of the error: far out, differences must be that sure before they side with autodiff
ALONE = 16  # elements that tie, each of which is moved alone

# ---------------------------------------------------------------- arithmetic

UNITS = 8  # rounding units of the largest entry: a backward may be off by so much in any dtype
AUTODIFF = 2  # times as far off as autodiff in the same dtype
CONDITIONING = 4  # times the movement of the reference with its inputs
AT_A_TIE = 64  # rounding units: in a narrow dtype values tie that were apart
COMPILER = 4  # times as far off as the eager run: then the compiler errs

# ---------------------------------------------------------------- budgets

COMPILED = 256  # compiled functions that are kept
BOXED = 100  # steps of NumPy code, run by JAX: above, as in loops over elements, a diagnosis would take a minute
AT_ONCE = 1 << 20  # elements in all: above, compiling the movement of the reference no longer pays
ELEMENTS = 1 << 25  # of one drawn array, or of all that a backward computes at very many rows: the memory of a laptop
# A Python loop over rows, or over blocks of them, shows as equations that grow by this many from the first number of
# rows to the others; to trace it at very many rows would take minutes.
FEW_ROWS, MORE_ROWS, GROWTH = 8, (16, 2048), 8
CHUNK = 64  # VJPs of the diagnosis at once: memory is bounded, and one compilation serves any number of them
LARGEST_JACOBIAN = 400  # entries of a value whose Jacobian is written out for its diagonal

# A loop that ends within the first or the second number of turns in float64 may take MORE_TURNS times as many in a
# narrower dtype.
TURNS, MORE_TURNS = (100, 10_000), 100

# ---------------------------------------------------------------- the diagnosis

EQUAL = 1e-9  # of the largest entry: two arrays, or two factors, are the same
APART = 1e-7  # of the largest entry: a slip must move a leaf by more
SLIGHT = 1e-8  # of the largest entry: a leaf that is off by less is not blamed if another is off by more
FIT, FIT_ROUNDING = 1e-10, 256  # a path explains the error if less is left: of the error, and in roundings of the ref
NOTHING = 1e-12  # of the reference: a path that carries less carries nothing
FACTOR, LITERAL = 1e-7, 1e-6  # a fitted factor is a simple one, or the size of an axis; or a constant of the source
FOLLOWS = 1e-8  # of the largest entry: a factor follows an axis to other sizes
NEARLY_ONE = 1e-2  # the ratio that another epsilon or divisor makes is no farther from 1
RATE_STEP, RATE = 1e-4, 1e-7  # a step along a gradient, and how well the VJP at updated weights must then fit
TOGETHER = 4  # axes whose sizes are multiplied, at most, as in a mean over all elements
PAIRS = 60  # pairs of paths whose VJP is evaluated, the simplest first
SECANTS, CLIP = 12, 100  # steps towards a factor in a loop, and its largest size
REACH = 16  # steps of an elementwise function that is written out: a gelu has ten
NEAREST = 40  # pairs of lines, the result of one being a factor of the other's gradient
JITTER = 0.03  # of each input: a coincidence at one point does not survive at another nearby

# ---------------------------------------------------------------- seeds, each beside the draw's own if there is one

SEED_DY = 3  # the cotangents of a probe
SEED_ARITHMETIC = 5  # the cotangent in which the arithmetic is judged
SEED_NUDGE = 7  # by which rounding unit each input moves
SEED_DIRECTION = 11  # in which the reference is audited
SEED_JITTER = 13  # inputs nearby, for which see JITTER
SEED_WAYS = 17  # the directions aside of a kink
SEED_ASSUMED = 19  # arguments drawn from a domain that a derivation may assume
SEED_VARIANT, SEED_VARIANT_DY = 23, 29  # inputs at kinks and far out, and the cotangent there
