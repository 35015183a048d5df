"""Products and operations of a program, counted on its steps: exact, and the same on every machine.

A product of matrices or a convolution takes two floating-point operations for each pair that is multiplied and added.
Any other arithmetic takes one for each element: of the result if it works element by element, of the operand if it
reduces. Moving, casting and comparing with a shape alone take none. A loop counts with its number of turns.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.jaxprs import Line, Program, Step


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TRANSCENDENTAL = _names(
    "acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 lgamma log log1p "
    "logistic pow rsqrt sin sinh sqrt tan tanh"
)
MOVES = _names(
    "bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy copy_p device_put dynamic_slice "
    "dynamic_update_slice empty expand_dims gather iota name optimization_barrier pad pvary random_fold_in random_seed "
    "random_split random_unwrap random_wrap reshape reshard rev scatter sharding_constraint slice split squeeze stack "
    "stop_gradient transpose"
)
# Their results have the shape of their operands, and no formula here says what they take.
OPAQUE = _names(
    "cholesky custom_call eig eigh fft ffi_call householder_product io_callback lu pallas_call pure_callback qr schur "
    "svd triangular_solve tridiagonal tridiagonal_solve"
)


class Product(NamedTuple):
    """A ``dot_general`` or ``conv_general_dilated``. ``flops`` of all its turns, which are ``times``."""

    primitive: str
    operands: tuple[str, ...]
    """The dtypes of both operands."""
    result: str
    """The dtype that it accumulates into, as far as the program says."""
    precision: str
    """The parameter ``precision``; empty if it is the default."""
    shape: tuple[int, ...]
    flops: int
    times: int
    line: Line


class Count(NamedTuple):
    """What a program computes.

    ``endless``: it holds a ``while`` loop, of which one turn is counted. ``opaque``: steps that cannot be counted.
    """

    products: tuple[Product, ...] = ()
    operations: int = 0
    transcendental: int = 0
    """Those of the operations that are exponentials, logarithms, roots and the like."""
    endless: bool = False
    opaque: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """The floating-point operations of the products."""
        return sum(product.flops for product in self.products)

    def __add__(self, other: Any) -> "Count":
        return Count(*(one | two if isinstance(one, bool) else one + two for one, two in zip(self, other, strict=True)))


class Taken(NamedTuple):
    """A step, and how often it is taken; ``endless``: in each turn of a ``while`` loop."""

    step: Step
    times: int
    endless: bool


def steps_of(program: Program, times: int = 1, endless: bool = False) -> Iterator[Taken]:
    """Every step, at any depth, that is no loop or branch itself; of branches, the one that takes the most."""
    for step in program.steps:
        if not step.bodies:
            yield Taken(step, times, endless)
        elif step.primitive == "cond":
            yield from steps_of(max(step.bodies, key=_amount), times, endless)
        else:
            turns = step.params.get("length", 1)
            for body in step.bodies:
                yield from steps_of(body, times * turns, endless or step.primitive == "while")


def _amount(program: Program) -> int:
    counted = count(program)
    return counted.flops + counted.operations


def count(program: Program) -> Count:
    """What a program computes."""
    return sum((count_step(taken, program) for taken in steps_of(program)), Count())


def count_step(taken: Taken, program: Program) -> Count:
    """What one step computes; ``program`` is any that has the types of its values."""
    step, times, endless = taken
    ins, outs = ([program.types[n] for n in side] for side in (step.ins, step.outs))
    if step.primitive in FLOPS:
        flops = times * FLOPS[step.primitive](step.params, ins, outs)
        precision = step.params.get("precision")
        product = Product(
            step.primitive, tuple(t.dtype.name for t in ins[:2]), outs[0].dtype.name,
            "" if precision is None else str(precision), outs[0].shape, flops, times, step.line,
        )  # fmt: skip
        return Count((product,), endless=endless)
    amount = _operations(step, ins, outs)
    if amount is None:
        return Count(opaque=(step.primitive,), endless=endless)
    return Count((), times * amount, times * amount * (step.primitive in TRANSCENDENTAL), endless)


def _operations(step: Step, ins: list[Any], outs: list[Any]) -> int | None:
    """The operations of a step that is no product; None if nothing is known of it."""
    name, size = step.primitive, max((math.prod(t.shape) for t in outs), default=0)
    if name in MOVES:
        return 0
    if name in OPAQUE:
        return None
    if name.startswith(("random_", "threefry")):
        return size
    if name.startswith("reduce_window"):
        return size * math.prod(step.params["window_dimensions"])
    if name.startswith("scatter"):
        return math.prod(ins[2].shape)
    if name.startswith(("reduce_", "arg", "select_and_scatter", "top_k")):
        return math.prod(ins[0].shape)
    return size if all(_fits(t.shape, outs[0].shape) for t in (*ins, *outs[1:])) else None


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an operand of that shape takes part in each element of a result, perhaps repeated along an axis."""
    return not shape or (len(shape) == len(whole) and all(n in (1, m) for n, m in zip(shape, whole, strict=True)))


# ---------------------------------------------------------------- products


def _dot(params: Any, ins: list[Any], outs: list[Any]) -> int:
    (contracted, _), _ = params["dimension_numbers"]
    return 2 * math.prod(outs[0].shape) * math.prod(ins[0].shape[axis] for axis in contracted)


def _convolution(params: Any, ins: list[Any], outs: list[Any]) -> int:
    """Without the pairs in which the zeros of padding and dilation take part, which a compiler need not multiply."""
    numbers = params["dimension_numbers"]
    x, w, y = ((t.shape, spec) for t, spec in zip((*ins[:2], *outs[:1]), numbers, strict=True))
    along = zip(*(params[key] for key in ("window_strides", "padding", "lhs_dilation", "rhs_dilation")), strict=True)
    pairs = [_pairs(*(shape[spec[2 + i]] for shape, spec in (x, w, y)), *how) for i, how in enumerate(along)]
    return 2 * y[0][y[1][0]] * y[0][y[1][1]] * w[0][w[1][1]] * math.prod(pairs)


def _pairs(n: int, taps: int, outs: int, stride: int, padding: tuple[int, int], spread: int, apart: int) -> int:
    """Along one axis: how many pairs of an output and a tap of the kernel meet an element of the input."""
    at = np.arange(outs)[:, None] * stride + np.arange(taps) * apart - padding[0]
    return int(np.sum((at >= 0) & (at <= (n - 1) * spread) & (at % spread == 0)))


FLOPS = {"dot_general": _dot, "conv_general_dilated": _convolution}


def bytes_of(aval: Any) -> int:
    """The bytes of an array of this type; a key counts as its 64 bits."""
    is_key = jnp.issubdtype(aval.dtype, jax.dtypes.prng_key)
    return math.prod(aval.shape) * (8 if is_key else jnp.dtype(aval.dtype).itemsize)
